"""What is wrong with a campaign file, said so that a person can put it right."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The way from the top of the document to a value: keys and list positions (from 0)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: where (line and column count from 1; 0 when there is no place), which field
    (dotted path such as `steps.coadd.retry.attempts`; "" for the file as a whole), what, and how
    to go on ("" when the message says it all)."""

    file: str
    line: int
    column: int
    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        field = f"{self.field}: " if self.field else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {field}{self.message}{hint}"


class CampaignFileError(Exception):
    """A campaign file that cannot be taken. `problems` has all that was found, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique = dict.fromkeys(problems)
        self.problems: tuple[Problem, ...] = tuple(
            sorted(unique, key=lambda p: (p.line, p.column, p.field))
        )
        super().__init__("\n".join(str(p) for p in self.problems))


def dotted(path: Path) -> str:
    """The path as people write it: `steps.coadd.errors[0].message`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def nearest(name: str, valid: Iterable[str], what: str = "") -> str:
    """A hint with the valid name nearest to `name`, or else the valid names (at most twelve).

    `what` names the valid things in the plural, for the second form.
    """
    names = list(dict.fromkeys(valid))
    lowered = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{lowered[close[0]]}'?"
    if not names:
        return f"there are no {what}" if what else ""
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{what or 'known'}: {listed}"


def shorten(value: object, limit: int = 60) -> str:
    """The value as text for a message, cut to `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\n", "\\n")
    return text if len(text) <= limit else text[: limit - 3] + "..."
