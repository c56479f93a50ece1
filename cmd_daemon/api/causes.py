"""Messages of failures that say the same, put together."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from cmd_daemon.kernel.records import FailureRow

# The first that fits wins: a time is more than its numbers.
_DIFFERS = re.compile(
    r"(?P<uuid>\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<path>\b[a-z][a-z0-9+.-]*://[^\s'\"<>()]+|(?<![\w/])(?:/[^\s/'\"<>:;,()\[\]{}]+){2,}/?)"
    r"|(?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8,}\b)"
    r"|(?P<n>(?<![\w.])[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w]))"
)


def pattern_of(message: str) -> str:
    """The message with everything that differs from case to case replaced: `<uuid>`, `<time>`, `<path>`,
    `<hex>`, `<n>`; blanks and line breaks as one blank."""
    return " ".join(_DIFFERS.sub(lambda match: f"<{match.lastgroup}>", message).split())


_HEAD = 300
_PLACEHOLDERS = 3
"""So much of a message goes into a rule: what comes later is rarely needed to know it again."""


def expression_of(message: str) -> str:
    """A regular expression that finds messages like this one: its first line, with `.+` for what
    differs."""
    head = next((line.strip() for line in message.splitlines() if line.strip()), "")[:_HEAD]
    parts: list[str] = []
    at = 0
    for number, match in enumerate(_DIFFERS.finditer(head)):
        parts.append(_escaped(head[at : match.start()]))
        at = match.end()
        if number == _PLACEHOLDERS:
            break
        parts.append(".+")
    else:
        parts.append(_escaped(head[at:]))
    expression = "".join(parts)
    while expression != (expression := expression.removesuffix(".+").removeprefix(".+").strip()):
        pass
    return expression


def _escaped(text: str) -> str:
    # Nothing but what has a meaning: the rule is to be read.
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


@dataclass(slots=True)
class Cause:
    """Failures alike; `last` is the one that was last."""

    pattern: str
    last: FailureRow
    first_at: int
    count: int = 0
    facilities: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)


def causes_of(rows: Iterable[FailureRow]) -> list[Cause]:
    """The causes of these failures, the most frequent first, of equally frequent ones the latest."""
    found: dict[tuple[str, str, int | None, str], Cause] = {}
    for row in rows:
        key = (pattern_of(row.message), row.task, row.exit_code, row.error_class or "")
        cause = found.get(key)
        if cause is None:
            cause = found[key] = Cause(key[0], row, row.first_at)
        if row.last_at > cause.last.last_at:
            cause.last = row
        cause.first_at = min(cause.first_at, row.first_at)
        cause.count += row.count
        cause.facilities[row.facility] += row.count
        cause.steps[row.step] += row.count
    return sorted(found.values(), key=lambda cause: (-cause.count, -cause.last.last_at))
