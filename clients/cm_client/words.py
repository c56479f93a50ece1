"""Single values as words for people, the same in every client.

Everything that comes from a campaign file, an outside system or a log goes through `clean`: names
and messages may hold control characters and escape sequences, and nothing that shows them may ever
obey them.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmd_api.v1.campaign_pb2 import Quanta
    from cmd_api.v1.job_pb2 import Progress
    from google.protobuf.timestamp_pb2 import Timestamp


FINAL = frozenset({"ACCEPTED", "SUCCEEDED", "FAILED", "REJECTED", "CANCELLED", "ARCHIVED"})
"""States that nothing leaves, of whatever entity; but an ARCHIVED campaign was final before."""


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


def progress_text(progress: Progress) -> str:
    """12/400 quanta, 3 failed, 2.0 GB at 10.0 MB/s."""
    words = []
    if progress.total or progress.done:
        words.append(f"{progress.done}/{progress.total} {progress.unit}".rstrip())
    if progress.failed:
        words.append(f"{progress.failed} failed")
    if progress.bytes:
        rate = f" at {size(progress.rate)}/s" if progress.rate else ""
        words.append(size(progress.bytes) + rate)
    if progress.note:
        words.append(progress.note)
    return ", ".join(words)


def log_text() -> Callable[[bytes], str]:
    """A function that turns one piece of a log after the other into text without control characters.

    A UTF-8 character that is cut between two pieces comes out whole; bytes that are none come out
    as the replacement character.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def decode(data: bytes) -> str:
        return clean(decoder.decode(data), lines=True)

    return decode
