"""From values of dimensions to data shares: their names, their part of the data query, regions."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from cmd_daemon.hooks import DataShare

Value = int | str
Values = tuple[Value, ...]
"""One value for each dimension of a split."""

DIMENSION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?::(\d+))?")
MAX_VALUES = 1_000_000
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def literal(value: Value) -> str:
    """A value as the query language writes it. Raises ValueError for a text that cannot be."""
    if isinstance(value, int):
        return str(value)
    if "'" in value or "\n" in value:
        raise ValueError(f"{value!r} has a quote or a line break, which a data query cannot hold")
    return f"'{value}'"


def read_range(text: str) -> range:
    """`A..B` or `A..B:STEP`, both ends included. Raises ValueError."""
    match = RANGE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"'{text}' is not a range; write 1..100 or 1..100:2")
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if step == 0 or last < first:
        raise ValueError(f"'{text}' is empty")
    return range(first, last + 1, step)


def terms(numbers: Sequence[int]) -> Iterator[str]:
    """Ascending whole numbers as ranges where at least three follow each other."""
    start = 0
    for place in range(1, len(numbers) + 1):
        if place < len(numbers) and numbers[place] == numbers[place - 1] + 1:
            continue
        run = numbers[start:place]
        if len(run) >= 3:
            yield f"{run[0]}..{run[-1]}"
        else:
            yield from map(str, run)
        start = place


def condition(dimension: str, values: Iterable[Value]) -> str:
    """`tract = 5`, `band IN ('g', 'r')` or `visit IN (1..9, 12)`."""
    found = sorted(set(values), key=order_of)
    if len(found) == 1:
        return f"{dimension} = {literal(found[0])}"
    numbers = [value for value in found if isinstance(value, int)]
    words = [literal(value) for value in found if isinstance(value, str)]
    return f"{dimension} IN ({', '.join([*terms(numbers), *words])})"


def order_of(value: Value) -> tuple[bool, int, str]:
    """Sorts numbers by size, before texts."""
    return (False, value, "") if isinstance(value, int) else (True, 0, value)


def where_of(dimensions: Sequence[str], members: Sequence[Values]) -> str:
    """The data query that gives exactly these members."""
    if len(dimensions) == 1:
        return condition(dimensions[0], (member[0] for member in members))
    last: dict[Values, list[Value]] = {}
    for member in members:
        last.setdefault(member[:-1], []).append(member[-1])
    parts = []
    for heads, tails in last.items():
        equal = [condition(name, [head]) for name, head in zip(dimensions, heads, strict=False)]
        parts.append(" AND ".join([*equal, condition(dimensions[-1], tails)]))
    return parts[0] if len(parts) == 1 else " OR ".join(f"({part})" for part in parts)


def name_of(member: Values) -> str:
    """The name of a group that has one member only: its own values."""
    plain = "_".join(str(value) for value in member)
    safe = UNSAFE.sub("-", plain).strip(".-")[:60]
    if safe == plain:
        return plain
    return f"{safe or 'g'}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def grouped(
    members: Sequence[Values],
    *,
    size: int | None = None,
    count: int | None = None,
    weights: Sequence[int] | None = None,
    max_weight: int | None = None,
) -> list[Sequence[Values]]:
    """Members in their order, cut into groups of `size`, into `count` groups that differ by one
    at most, or so that no group weighs more than `max_weight` (a heavier member is alone)."""
    total = len(members)
    if count is not None:
        parts = min(count, total)
        ends = [total * (number + 1) // parts for number in range(parts)]
    elif max_weight is not None and weights is not None:
        ends, load = [], 0
        for place, weight in enumerate(weights):
            if load and load + weight > max_weight:
                ends.append(place)
                load = 0
            load += weight
        ends += [total] if total else []
    else:
        step = size or 1
        ends = [min(at + step, total) for at in range(0, total, step)]
    starts = [0, *ends[:-1]]
    return [members[start:end] for start, end in zip(starts, ends, strict=True)] if ends else []


def shares_of(
    dimensions: Sequence[str],
    groups: Sequence[Sequence[Values]],
    sizes: Sequence[int],
    *,
    by_value: bool,
    region: str,
) -> list[DataShare]:
    """A share for each group: named by its value if `by_value`, else by its running number.

    `data` carries the values by dimension; a group with one value of the dimension `region` belongs
    to that region, `tract/9813`.
    """
    width = max(4, len(str(len(groups))))
    shares = []
    for number, (members, size) in enumerate(zip(groups, sizes, strict=True), 1):
        values = {
            name: [member[place] for member in members] for place, name in enumerate(dimensions)
        }
        places = set(values.get(region, []))
        shares.append(
            DataShare(
                name=name_of(members[0]) if by_value else f"{number:0{width}d}",
                where=where_of(dimensions, members),
                region=f"{region}/{places.pop()}" if len(places) == 1 else None,
                size=size,
                data={"values": values},
            )
        )
    return shares
