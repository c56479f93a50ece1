"""Which Rucio datasets hold a group's inputs: patterns of names, filled from the group's data query."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter

MOST = 1000
"""Names made of one pattern for one group, at most; above that nothing is known."""

_TOKEN = re.compile(r"'[^']*'|[A-Za-z_][\w.]*|-?\d+\.\d+|-?\d+|\.\.|[<>!]=|[=<>(),:]|\S", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


def fields(pattern: str) -> list[str]:
    """The names in braces. Raises ValueError for anything but plain names in them."""
    found = []
    for _, name, spec, conversion in Formatter().parse(pattern):
        if name is None:
            continue
        if spec or conversion or not _NAME.fullmatch(name):
            raise ValueError(f"'{{{name}}}' must be the plain name of a dimension")
        found.append(name)
    return found


def names(pattern: str, where: str) -> list[str]:
    """The names that a pattern has for a data query; none if the query leaves one of its fields open."""
    values = fixed(where)
    known = dict(values)
    for name, told in values.items():  # `visit.day_obs` fixes `day_obs` too
        known.setdefault(name.rpartition(".")[2], told)
    wanted = list(dict.fromkeys(fields(pattern)))
    if any(name not in known for name in wanted):
        return []
    choices = itertools.product(*(known[name] for name in wanted))
    made = [_filled(pattern, dict(zip(wanted, each, strict=True))) for each in _some(choices)]
    return made if len(made) <= MOST else []


def _some(choices: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    return itertools.islice(choices, MOST + 1)


def _filled(pattern: str, values: Mapping[str, str]) -> str:
    return "".join(
        text + (values[name] if name is not None else "")
        for text, name, _, _ in Formatter().parse(pattern)
    )


def fixed(where: str) -> dict[str, list[str]]:
    """The values that a data query allows, for each name it fixes by `name = value` or `name IN
    (values and ranges)`. What stands within OR or NOT, or is compared otherwise, fixes nothing."""
    found: dict[str, list[str]] = {}
    for name, values in _conditions(_TOKEN.findall(where)):
        former = found.get(name)
        found[name] = values if former is None else [each for each in former if each in values]
    return found


def _conditions(tokens: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if depth == 0 and token.upper() == "OR":
            return
        if depth == 0 and token.upper() == "AND":
            parts.append([])
        else:
            parts[-1].append(token)
    for part in parts:
        if _enclosed(part):
            yield from _conditions(part[1:-1])
        elif len(part) >= 3 and _NAME.fullmatch(part[0]):
            values: list[str] = []
            if part[1] == "=" and len(part) == 3:
                values = _values(part[2:])
            elif part[1].upper() == "IN" and _enclosed(part[2:]):
                values = _values(part[3:-1])
            if values:
                yield part[0], values


def _enclosed(part: Sequence[str]) -> bool:
    """Whether one pair of parentheses is around all of it."""
    depths = list(itertools.accumulate((token == "(") - (token == ")") for token in part))
    return bool(depths) and part[0] == "(" and depths[-1] == 0 and 0 not in depths[:-1]


def _values(tokens: Sequence[str]) -> list[str]:
    """The values of a list; none if one of them is no plain value or there are too many."""
    found: list[str] = []
    for separator, group in itertools.groupby(tokens, lambda token: token == ","):
        if separator:
            continue
        part = list(group)
        if len(part) == 1 and _PLAIN.fullmatch(part[0].strip("'")):
            is_name = not part[0].startswith("'") and _NAME.fullmatch(part[0])
            made = [] if is_name else [part[0].strip("'")]
        else:
            made = _range(part)
        if not made or len(found) + len(made) > MOST:
            return []
        found += made
    return list(dict.fromkeys(found))


def _range(part: Sequence[str]) -> list[str]:
    """`first..last` and `first..last:stride`, the last included."""
    match part:
        case [first, "..", last]:
            stride = "1"
        case [first, "..", last, ":", stride]:
            pass
        case _:
            return []
    try:
        numbers = range(int(first), int(last) + 1, int(stride))
    except ValueError:
        return []
    return [str(each) for each in numbers[: MOST + 1]]
