"""What ran when: a lane for each step at each facility, over one axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate

from cmd_api.v1.statistics_pb2 import Activity, ActivityOfStep

from cm_client.words import counted, duration

LEVELS = 4
TICKS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
)
"""Seconds that the marks of the axis may be apart; beyond that, whole days."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some spans with about the same number of attempts; x and width in per cent, level 1 to 4."""

    x: float
    width: float
    level: int
    words: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A span in which attempts failed."""

    x: float
    width: float
    words: str


@dataclass(slots=True)
class Lane:
    """One step at one facility."""

    facility: str
    blocks: list[Block] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the axis."""

    x: float
    words: str


@dataclass(slots=True)
class Timeline:
    """The picture. `most` is the largest number of attempts at a time in any lane."""

    lanes: dict[str, list[Lane]]
    ticks: list[Tick]
    most: int


def timeline(activity: Activity) -> Timeline:
    """The lanes of all steps that did something."""
    present = [_present(part) for part in activity.parts]
    most = max((max(counts, default=0) for counts in present), default=0)
    lanes: dict[str, list[Lane]] = {}
    for part, counts in zip(activity.parts, present, strict=True):
        lane = Lane(part.facility, _blocks(counts, most, activity), _faults(part, activity))
        lanes.setdefault(part.step, []).append(lane)
    return Timeline(lanes, ticks(activity), most)


def _present(part: ActivityOfStep) -> list[int]:
    """Attempts that were under way at some time of each span."""
    begun = list(accumulate(part.begun))
    gone = accumulate(
        s + f + c for s, f, c in zip(part.succeeded, part.failed, part.cancelled, strict=True)
    )
    ended = [0, *gone][:-1]
    return [b - e for b, e in zip(begun, ended, strict=True)]


def _blocks(counts: Sequence[int], most: int, activity: Activity) -> list[Block]:
    width = 100 / max(1, activity.spans)
    levels = [-(-LEVELS * count // most) if count > 0 else 0 for count in counts]
    found: list[Block] = []
    at = 0
    while at < len(levels):
        end = at
        while end < len(levels) and levels[end] == levels[at]:
            end += 1
        if levels[at]:
            there = counts[at:end]
            low, high = min(there), max(there)
            number = f"{low} to {high}" if low != high else f"{high}"
            took = duration((end - at) * activity.span)
            words = f"{number} at a time, {took}"
            found.append(
                Block(round(at * width, 3), round((end - at) * width, 3), levels[at], words)
            )
        at = end
    return found


def _faults(part: ActivityOfStep, activity: Activity) -> list[Fault]:
    width = 100 / max(1, activity.spans)
    return [
        Fault(round(at * width, 3), round(width, 3), counted(failed, "attempt") + " failed")
        for at, failed in enumerate(part.failed)
        if failed
    ]


def ticks(activity: Activity) -> list[Tick]:
    """Six marks or so, at round times of the day (UTC)."""
    start = activity.start_time.ToMicroseconds() / 1e6
    length = activity.span * activity.spans
    days = 86_400 * max(1, round(length / 6 / 86_400))
    step = next((each for each in TICKS if length / each <= 7), days)
    at = -(-start // step) * step
    found = []
    while at < start + length:
        words = datetime.fromtimestamp(at, UTC).strftime(_form(step, length))
        found.append(Tick(round(100 * (at - start) / length, 3), words))
        at += step
    return found


def _form(step: float, length: float) -> str:
    if step < 60:
        return "%H:%M:%S"
    if length < 2 * 86_400:
        return "%H:%M"
    return "%d %b" if step >= 86_400 else "%d %b %H:%M"
