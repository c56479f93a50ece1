"""Pins: the part of the data that a person ties to one facility, as `tract IN (9948, 9950..9952)`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PIN = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:=\s*([^()=]+?)|IN\s*\(([^()]*)\))\s*", re.IGNORECASE)
RANGE = re.compile(r"(-?\d+)\s*\.\.\s*(-?\d+)(?:\s*:\s*(\d+))?")


@dataclass(frozen=True, slots=True)
class Pin:
    """Values of one dimension; ranges stay ranges."""

    dimension: str
    values: frozenset[str]
    ranges: tuple[range, ...]

    def holds(self, value: Any) -> bool:
        """Whether a value is among those pinned."""
        text = str(value)
        if text in self.values:
            return True
        number = int(text) if text.lstrip("-").isdecimal() else None
        return number is not None and any(number in numbers for numbers in self.ranges)

    def touches(self, region: str | None, values: Mapping[str, Any]) -> bool:
        """Whether a group with this region and these values by dimension has pinned data."""
        if any(self.holds(value) for value in values.get(self.dimension, ())):
            return True
        name, _, value = (region or "").partition("/")
        return name == self.dimension and self.holds(value)


def read_pin(text: str) -> Pin:
    """A pin from its text. Raises ValueError with words for people."""
    match = PIN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a pin; write for example: tract IN (9948, 9950..9952)")
    values, ranges = set(), []
    for part in (match[2] or match[3] or "").split(","):
        item = part.strip()
        numbers = RANGE.fullmatch(item)
        if numbers is not None:
            step = int(numbers[3] or 1)
            if step < 1:
                raise ValueError(f"'{text}': the step of {item} must be at least 1")
            ranges.append(range(int(numbers[1]), int(numbers[2]) + 1, step))
        elif item:
            values.add(item.strip("'\""))
    if not values and not any(ranges):
        raise ValueError(f"'{text}' pins nothing")
    return Pin(match[1], frozenset(values), tuple(ranges))
