"""Groups by facility: each step a band, each facility a row of it, each cell a slice of its groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cmd_api.v1.statistics_pb2 import GroupCount

from .. import states


@dataclass(slots=True)
class Cell:
    """The groups of one slice at one facility; x and width in per cent, `first` the first of them."""

    x: float
    width: float
    first: str
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of that state."""
        return states.kind(self.state)

    @property
    def state(self) -> str:
        """The state that speaks for all of them."""
        return min(self.counts, key=lambda state: states.WORST.index(states.kind(state)))

    @property
    def number(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @property
    def words(self) -> str:
        """What a pointer that rests on it is told."""
        told = ", ".join(f"{n} {state}" for state, n in states.ordered(self.counts))
        return f"{self.first}: {told}" if self.number == 1 else f"from {self.first}: {told}"


@dataclass(slots=True)
class Row:
    """One facility of a step; the facility is empty for groups that are not placed."""

    facility: str
    cells: dict[int, Cell] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Band:
    """One step (resource name)."""

    step: str
    slices: int
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def sorted_rows(self) -> list[Row]:
        """By facility; what is not placed comes last."""
        return sorted(self.rows.values(), key=lambda row: (not row.facility, row.facility))


def bands(counts: Iterable[GroupCount]) -> list[Band]:
    """The picture of groups that were counted in slices, in the order of the steps."""
    listed = list(counts)
    slices: dict[str, int] = {}
    for each in listed:
        slices[each.step] = max(slices.get(each.step, 1), each.slice)
    found: dict[str, Band] = {}
    for each in listed:
        band = found.setdefault(each.step, Band(each.step, slices[each.step]))
        row = band.rows.setdefault(each.facility, Row(each.facility))
        width = 100 / band.slices
        cell = row.cells.get(each.slice)
        if cell is None:
            x = round((each.slice - 1) * width, 3)
            cell = row.cells[each.slice] = Cell(x, round(width, 3), each.first)
        cell.counts[each.state] = cell.counts.get(each.state, 0) + each.count
        row.counts[each.state] = row.counts.get(each.state, 0) + each.count
    return list(found.values())
