"""Commands to an attempt that is outside: what may be wanted of it, and what waits to be done."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Command(StrEnum):
    """What may be wanted of an attempt.

    PAUSE: the outside system starts nothing more of it; RESUME: it goes on. PRIORITY, MEMORY and
    QUEUE: it gets this priority (a whole number, more is sooner), memory (bytes) or queue (its name
    outside) from now on.
    """

    PAUSE = "pause"
    RESUME = "resume"
    PRIORITY = "priority"
    MEMORY = "memory"
    QUEUE = "queue"


Value = int | str | None

STANDING = frozenset({Command.PAUSE, Command.RESUME})
"""The commands that take back each other."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One command that is not done yet. `number` tells it from others, `until` (microseconds UTC) is when it
    is given up, 0 while another is before it; `message` is what the driver last said."""

    number: int
    command: Command
    value: Value = None
    until: int = 0
    message: str = ""

    @property
    def label(self) -> str:
        """The command with its value, as people read it."""
        match self.command, self.value:
            case Command.MEMORY, int(size):
                return f"memory {size / 1e9:.4g} GB"
            case _, None:
                return str(self.command)
            case _:
                return f"{self.command} {self.value}"


def read(text: str | None) -> tuple[Wanted, ...]:
    """The commands that wait for an attempt, as `written`; the first is the one that is asked for."""
    if text is None:
        return ()
    return tuple(
        Wanted(number, Command(command), value, until, message)
        for number, command, value, until, message in json.loads(text)
    )


def written(queue: Sequence[Wanted]) -> str | None:
    """The commands as a JSON text; None if there are none."""
    if not queue:
        return None
    return json.dumps([[w.number, w.command, w.value, w.until, w.message] for w in queue])
