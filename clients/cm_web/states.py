"""How states look: each has a kind, and each kind a colour, a sign and (in bars) a pattern of its own,
so that no state is told by its colour alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cmd_api.v1.facility_pb2 import Facility

# The order of a bar: from done to not begun.
KINDS = {
    "ACCEPTED": "done",
    "SUCCEEDED": "done",
    "REJECTED": "bad",
    "FAILED": "bad",
    "CANCELLED": "off",
    "CANCELLING": "off",
    "REVIEW": "person",
    "HELD": "person",
    "UNCERTAIN": "person",
    "RUNNING": "run",
    "SUBMITTING": "run",
    "PREPARING": "run",
    "PLACED": "queue",
    "READY": "queue",
    "PAUSED": "pause",
    "PAUSING": "pause",
    "RESUMING": "pause",
    "WAITING": "wait",
    "DRAFT": "wait",
    "ARCHIVED": "wait",
    # Of a facility.
    "up": "done",
    "drained": "pause",
    "killed": "bad",
    "down": "bad",
    # Of a schedule and of its times.
    "ACTIVE": "run",
    "REMOVED": "off",
    "LAUNCHED": "done",
    "QUEUED": "queue",
    "SKIPPED": "wait",
    "REFUSED": "bad",
}
"""Kind of each state."""

WORST = ("bad", "person", "run", "queue", "pause", "wait", "off", "done")
"""Which kind speaks for many: the first that is among them."""

LEAST = 0.8
"""Per cent of a bar that a state with anything in it takes at least: one held group among ten
thousand has to be seen."""

_ORDER = list(KINDS)


def kind(state: str) -> str:
    """The kind of a state; `wait` for one that a newer daemon has."""
    return KINDS.get(state, "wait")


def facility_word(facility: Facility) -> str:
    """killed, drained, up or down."""
    if facility.killed:
        return "killed"
    if facility.drained:
        return "drained"
    return "up" if facility.up else "down"


def ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """States and numbers above zero, in the order of a bar."""
    there = [(state, number) for state, number in counts.items() if number > 0]
    return sorted(there, key=lambda pair: _ORDER.index(pair[0]) if pair[0] in KINDS else 99)


@dataclass(frozen=True, slots=True)
class Segment:
    """One state's part of a bar; from where and how wide in per cent."""

    state: str
    kind: str
    count: int
    x: float
    width: float


def segments(counts: Mapping[str, int]) -> list[Segment]:
    """A bar of these counts, which fills its whole width."""
    there = ordered(counts)
    total = sum(number for _, number in there)
    shares = [max(LEAST, 100 * number / total) for _, number in there]
    scale = 100 / sum(shares) if shares else 1.0
    found = []
    x = 0.0
    for (state, number), share in zip(there, shares, strict=True):
        width = share * scale
        found.append(Segment(state, kind(state), number, round(x, 2), round(width, 2)))
        x += width
    return found
