"""Regular expressions of error rules: refused if they could make the daemon think for ever.

They are searched in every failure's message, so one whose time can grow exponentially with the
message's length (a repeat inside a repeat, a repeated choice of overlapping words) is not taken.
"""

import functools
import re
import re._constants as c  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import warnings
from typing import Any

MAX_LENGTH = 500
_MANY = 10
_MOST_REPEATS = 8
_REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT)


@functools.lru_cache(maxsize=1000)
def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a regular expression, in words; None if it may be used."""
    if len(pattern) > MAX_LENGTH:
        return f"the pattern has {len(pattern)} characters, at most {MAX_LENGTH} are allowed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
            tree = parser.parse(pattern)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        return f"not a regular expression: {error.msg}{place}"
    except (RecursionError, OverflowError):
        return "not a regular expression that can be used: too deep or too large"
    if _count_many(tree) > _MOST_REPEATS:
        return f"has more than {_MOST_REPEATS} repeats such as .* and could take for ever"
    return _nested(tree, inside=False)


def _nested(tree: Any, inside: bool) -> str | None:
    """The first dangerous repeat in the tree; `inside` says that the tree itself is repeated."""
    previous: Any = None
    for op, av in tree:
        many, body = False, None
        if op in _REPEATS:
            most, body = av[1], av[2]
            many = most == c.MAXREPEAT or most > _MANY
            if many and inside:
                return "has a repeat inside a repeat, such as (a+)+, and could take for ever"
            if many and previous is not None and _overlap(previous, body):
                return "has two repeats side by side, such as .*.*, and could take for ever"
            if many and body.getwidth()[0] == 0:
                return "repeats something that may be empty and could take for ever"
            found = _nested(body, inside or many)
        else:
            if op is c.BRANCH and inside and not _distinct(av[1]):
                return "repeats a choice such as (a|ab)* and could take for ever"
            found = next((f for t in _inner(av) if (f := _nested(t, inside))), None)
        if found:
            return found
        previous = body if many else None
    return None


def _overlap(one: Any, two: Any) -> bool:
    """True if two bodies are the same or one is anything at all: then a text can be shared out
    between them in many ways."""
    anything = any(len(b) == 1 and b[0][0] is c.ANY for b in (one, two))
    return anything or repr(one) == repr(two)


def _count_many(tree: Any) -> int:
    count = 0
    for op, av in tree:
        if op in _REPEATS:
            count += (av[1] == c.MAXREPEAT or av[1] > _MANY) + _count_many(av[2])
        else:
            count += sum(_count_many(t) for t in _inner(av))
    return count


def _distinct(branches: Any) -> bool:
    """True if each branch begins with a literal of its own: then no text has two readings."""
    firsts = [b[0][1] if len(b) and b[0][0] is c.LITERAL else None for b in branches]
    return None not in firsts and len(set(firsts)) == len(firsts)


def _inner(av: Any) -> list[Any]:
    """The trees inside the argument of an operation that is no repeat (branches, groups, looks)."""
    if isinstance(av, parser.SubPattern):
        return [av]
    if isinstance(av, list | tuple):
        return [t for a in av for t in _inner(a)]
    return []
