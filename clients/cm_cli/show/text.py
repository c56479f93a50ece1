"""Single values as text for people.

Everything that comes from a campaign file, an outside system or a log goes through `clean`: names
and messages may hold control characters and escape sequences, and a terminal must never obey them.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from cmd_api.v1.campaign_pb2 import Problem, Quanta

STYLES = {
    "ACCEPTED": "green",
    "ACTIVE": "green",
    "LAUNCHED": "green",
    "SUCCEEDED": "green",
    "RUNNING": "blue",
    "SUBMITTING": "blue",
    "PLACED": "cyan",
    "PREPARING": "cyan",
    "READY": "cyan",
    "REVIEW": "bold yellow",
    "HELD": "bold yellow",
    "UNCERTAIN": "bold yellow",
    "PAUSED": "yellow",
    "PAUSING": "yellow",
    "FAILED": "bold red",
    "REFUSED": "bold red",
    "SKIPPED": "yellow",
    "QUEUED": "cyan",
    "REJECTED": "red",
    "CANCELLED": "magenta",
    "CANCELLING": "magenta",
    "WAITING": "bright_black",
    "DRAFT": "bright_black",
    "ARCHIVED": "bright_black",
}
"""Colour of each state's name."""


def clean(text: str, *, lines: bool = False) -> str:
    """The text without control, format and unassigned characters (Unicode categories C*).

    A line break or tab becomes a blank; with `lines` it stays.
    """
    kept = []
    for character in text:
        if character in "\n\t":
            kept.append(character if lines else " ")
        elif not unicodedata.category(character).startswith("C"):
            kept.append(character)
    return "".join(kept)


def state_word(entity: Any) -> str:
    """HELD for an entity (campaign, step, group or job) in STATE_HELD."""
    try:
        name: str = type(entity).State.Name(entity.state)
    except ValueError:  # a daemon newer than this client
        return str(entity.state)
    return name.removeprefix("STATE_")


def moment(time: Timestamp) -> str:
    """2026-11-22 18:04:05 (UTC), or nothing if it is not set."""
    return time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if time.seconds else ""


def clock(time: Timestamp) -> str:
    """18:04:05 (UTC)."""
    return time.ToDatetime().strftime("%H:%M:%S") if time.seconds else ""


def duration(seconds: float) -> str:
    """Two units at most: 4 s, 3 min 20 s, 5 h 2 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    for size, unit, small, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def between(start: Timestamp, end: Timestamp) -> str:
    """How long something has taken: until now if it has not ended, nothing if not started."""
    import time

    if not start.seconds:
        return ""
    until = end.ToMicroseconds() / 1e6 if end.seconds else time.time()
    return duration(until - start.ToMicroseconds() / 1e6)


def size(count: float) -> str:
    """Bytes with a decimal unit: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} PB"


def counted(number: int, thing: str) -> str:
    """1 group, 2 groups."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def quanta_text(quanta: Quanta) -> str:
    """succeeded/expected, and the losses if there are any."""
    if not (quanta.expected or quanta.succeeded):
        return ""
    lost = f", {quanta.lost} lost" if quanta.lost else ""
    return f"{quanta.succeeded}/{quanta.expected}{lost}"


def problem_line(problem: Problem) -> str:
    """file:line:col: field: message (hint)."""
    place = clean(problem.file) or "campaign file"
    if problem.line:
        place += f":{problem.line}:{problem.column}"
    field = f" {clean(problem.field)}:" if problem.field else ""
    hint = f" ({clean(problem.hint)})" if problem.hint else ""
    return f"{place}:{field} {clean(problem.message)}{hint}"
