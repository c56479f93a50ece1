"""Times, sizes and numbers as people read them."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

LARGEST = "PB"


def seconds(time: Timestamp) -> float | None:
    """Seconds since 1970 (UTC), None if the time is not set."""
    micro: int = time.ToMicroseconds()
    return micro / 1e6 if micro else None


def moment(at: float | None) -> str:
    """2026-11-22 18:04:05, in UTC; a dash if there is none."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(at: float) -> str:
    """18:04:05, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def duration(length: float) -> str:
    """Two units at most: 4.2 s, 41 s, 3 min 20 s, 5 h 2 min, 3 d 4 h."""
    if length < 10:
        return f"{length:.1f} s"
    whole = round(length)
    for size, unit, small, small_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def size(count: float) -> str:
    """Bytes with a decimal unit: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {LARGEST}"


def number(count: int) -> str:
    """12 345, with thin spaces that do not break."""
    return f"{count:,}".replace(",", "\u202f")


def signed(value: float, digits: int = 1) -> str:
    """+1.5, −48.0 or 0, with a real minus."""
    return f"{value:+.{digits}f}".replace("-", "−") if value else "0"


def counted(count: int, thing: str, things: str = "") -> str:
    """1 group, 2 groups."""
    return f"{number(count)} {thing if count == 1 else things or thing + 's'}"


def span(length: float, about: int = 8) -> int:
    """A round number of seconds that cuts a length into about so many parts."""
    rounds = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800)
    days = (21600, 43200, 86400, 172800, 604800)
    wanted = max(length, 1.0) / about
    return next((each for each in (*rounds, *days) if each >= wanted), 1209600)


def elapsed(length: int) -> str:
    """A tick of a time axis: 0:40, 12:30, 3:00:00, 2 d."""
    if length >= 86400 and length % 86400 == 0:
        return f"{length // 86400} d"
    hours, rest = divmod(length, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
