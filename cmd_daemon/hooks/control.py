"""Commands to attempts that are outside: the port of drivers that can do more than cancel.

A driver that has `commands` and `control` besides the calls of `Driver` is a `Controllable`; others are
never asked. Each command says what is wanted, not what to do: said twice it changes nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cmd_daemon.kernel.commands import Command
from cmd_daemon.kernel.outcome import ErrorClass

__all__ = ["Command", "Control", "ControlAnswer", "Controllable"]


@dataclass(frozen=True, slots=True)
class Control:
    """One command to one attempt: our key, the system's own name for it, and the value of
    PRIORITY, MEMORY and QUEUE."""

    key: str
    ref: str
    command: Command
    value: int | str | None = None


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """What became of a command. `done`: the outside system shows that it is so, or the attempt is over.

    Otherwise `error_class` and `message` say why: NOT_YET, it was asked for and cannot be seen yet;
    TRANSIENT, ask again; PERMANENT, the outside system refuses it.
    """

    key: str
    done: bool
    error_class: ErrorClass = ErrorClass.NOT_YET
    message: str = ""


@runtime_checkable
class Controllable(Protocol):
    """A driver whose attempts can be commanded while they are outside."""

    commands: frozenset[Command]
    """The commands it knows; others are refused before it is asked."""

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """Look how each attempt is, ask for what is not so yet, and say what is. Asked again
        until it is done, refused or given up; never twice at a time for one attempt. Raises
        DriverError if nothing could be asked."""
