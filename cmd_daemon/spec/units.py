"""Durations and amounts of memory as people write them: `5 min`, `1 h 30 min`, `32 GB`, `4 GiB`."""

import re

_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
}
_BYTES = {"B": 1}
for _power, _prefix in enumerate("kMGTP", start=1):
    _BYTES[f"{_prefix}B"] = 1000**_power
    _BYTES[f"{_prefix.upper()}iB"] = 1024**_power
_BYTES["KB"] = 1000

LONGEST_S = 366 * 86_400.0
"""The longest duration a campaign file may name, in seconds: a leap year."""

MOST_BYTES = 1000**5
"""The most memory a campaign file may name: one petabyte."""

DURATION_HELP = "write a number and a unit: 90 s, 5 min, 2 h or 1 d"
MEMORY_HELP = "write a number and a unit: 500 MB, 32 GB or 4 GiB"


def parse_duration(text: str) -> float:
    """Seconds of a duration of one or more parts (`1 h 30 min`).

    Raises ValueError, with words for people, for anything else, zero, and more than `LONGEST_S`.
    """
    end, seconds = 0, 0.0
    while end < len(text) and (part := _PART.match(text, end)):
        unit = _SECONDS.get(part[2].lower())
        if unit is None:
            raise ValueError(f"unknown unit '{part[2]}' of time; {DURATION_HELP}")
        seconds += float(part[1]) * unit
        end = part.end()
    if not text.strip() or end < len(text):
        raise ValueError(f"not a duration; {DURATION_HELP}")
    if not 0 < seconds <= LONGEST_S:
        raise ValueError("a duration must be more than 0 and at most 366 d")
    return seconds


def parse_memory(text: str) -> int:
    """Bytes of an amount of memory: kB, MB, GB, TB are powers of 1000, KiB, MiB, GiB, TiB of 1024.

    Raises ValueError, with words for people, for anything else, less than one byte, and more than
    `MOST_BYTES`.
    """
    part = _PART.fullmatch(text)
    if part is None:
        raise ValueError(f"not an amount of memory; {MEMORY_HELP}")
    unit = _BYTES.get(part[2])
    if unit is None:
        raise ValueError(f"unknown unit '{part[2]}' of memory; {MEMORY_HELP}")
    amount = float(part[1]) * unit
    if not 1 <= amount <= MOST_BYTES:
        raise ValueError("an amount of memory must be at least 1 B and at most 1 PB")
    return round(amount)


def duration_text(seconds: float) -> str:
    """The duration in the largest unit that needs no fraction: 300.0 -> `5 min`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)} {unit}"
    return f"{f'{seconds:.3f}'.rstrip('0').rstrip('.')} s"


def memory_text(amount: int) -> str:
    """The amount in the largest unit that needs no fraction, decimal units first: `32 GB`, `4 GiB`."""
    for base, infix in ((1000, ""), (1024, "i")):
        for power, prefix in ((4, "T"), (3, "G"), (2, "M")):
            if amount >= base**power and amount % base**power == 0:
                return f"{amount // base**power} {prefix}{infix}B"
    return f"{amount} B"
