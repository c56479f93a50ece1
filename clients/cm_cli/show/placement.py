"""Placement decisions: which filters and factors led where, and what a move would cost."""

from __future__ import annotations

from collections.abc import Sequence

from cmd_api.v1.group_pb2 import MoveCost, MoveGroupResponse, Placement, PlacementFactor
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from cm_client import short_name

from .console import facts, row, table, text
from .text import counted, moment, size

MOST_COLUMNS = 5
"""Facilities that stand side by side; more of them come below each other."""


def placement(decision: Placement, title: str = "Placed") -> RenderableType:
    """One placement decision with every filter and factor, a column for each facility."""
    where = short_name(decision.facility) or "nowhere"
    when = f" on {moment(decision.time)}" if decision.time.seconds else ""
    by = f", by {decision.algorithm}" if decision.algorithm else ""
    actor = f" ({decision.actor})" if decision.actor else ""
    parts: list[RenderableType] = [text(f"{title}: {where}{by}{actor}{when}", "bold")]
    if decision.reason:
        parts.append(text(decision.reason))
    if decision.factors:
        parts.append(_factors(decision.factors, short_name(decision.facility)))
    return Stack(*parts)


def _factors(factors: Sequence[PlacementFactor], chosen: str) -> RenderableType:
    facilities = list(dict.fromkeys(short_name(factor.facility) for factor in factors))
    names = list(dict.fromkeys(factor.name for factor in factors))
    if len(facilities) > MOST_COLUMNS:
        return _below_each_other(factors)
    cells: dict[tuple[str, str], Text] = {}
    for factor in factors:
        key = (factor.name, short_name(factor.facility))
        cell = _cell(factor)
        cells[key] = Text("; ").join([cells[key], cell]) if key in cells else cell
    heads = [f"{name} *" if name == chosen else name for name in facilities]
    grid = table("Filter or factor", *(text(head).plain for head in heads))
    for name in names:
        row(grid, name, *(cells.get((name, facility), "") for facility in facilities))
    return grid


def _below_each_other(factors: Sequence[PlacementFactor]) -> RenderableType:
    grid = table("Facility", "Filter or factor", "Says")
    for factor in factors:
        row(grid, short_name(factor.facility), factor.name, _cell(factor))
    return grid


def _cell(factor: PlacementFactor) -> Text:
    if not factor.passed:
        return text(f"no: {factor.detail}" if factor.detail else "no", "red")
    if factor.value == 1 and not factor.detail:
        return text("yes", "green")
    if factor.value == 1 and factor.detail.startswith("not judged"):
        return text(factor.detail, "bright_black")
    value = text(f"{factor.value:.3g}")
    return value.append_text(text(f"  {factor.detail}", "bright_black")) if factor.detail else value


def what_if(decision: Placement, without: Sequence[str], now: str) -> RenderableType:
    """Where a group would be placed without some facilities; `now` is where it is."""
    down = " and ".join(short_name(name) for name in without)
    where = short_name(decision.facility)
    past = bool(decision.time.seconds)  # the group is final: this is how it would have been
    if not where:
        sentence = f"Without {down} it would {'have waited' if past else 'wait'}: no facility fits."
    elif where == short_name(now):
        sentence = f"Without {down} it would {'have stayed' if past else 'stay'} at {where}."
    else:
        sentence = f"Without {down} it would {'have gone' if past else 'go'} to {where}."
    return Stack(text(sentence, "bold yellow"), placement(decision, "What if"))


def move_cost(answer: MoveGroupResponse, facility: str) -> RenderableType:
    """What moving a group to a facility costs."""
    cost, group = answer.cost, answer.group
    here = short_name(group.facility)
    way = f"{here} -> {short_name(facility)}" if here else f"to {short_name(facility)}"
    head = text(f"Moving {short_name(group.name)}: {way}", "bold")
    parts: list[RenderableType] = [head, _cost(cost)]
    parts += [text(f"  {note}") for note in cost.notes]
    failed = [factor for factor in answer.placement.factors if not factor.passed]
    if failed:
        parts.append(text("Filters that speak against it:", "bold yellow"))
        parts += [text(f"  {factor.name}: {factor.detail}") for factor in failed]
    return Stack(*parts)


def _cost(cost: MoveCost) -> RenderableType:
    missing = "nothing that is known of"
    if cost.missing_files or cost.missing_bytes:
        missing = f"{counted(cost.missing_files, 'file')}, {size(cost.missing_bytes)}"
    behind = ", ".join(short_name(name) for name in cost.left_behind[:10])
    if len(cost.left_behind) > 10:
        behind += f" and {len(cost.left_behind) - 10} more"
    return facts(
        [
            ("inputs to bring", missing),
            ("from", ", ".join(short_name(name) for name in cost.sources)),
            ("done again", f"{cost.quanta_lost} quanta" if cost.quanta_lost else ""),
            ("stays behind", behind),
        ]
    )
