"""What goes wrong on command: lost answers, errors, slowness, dead tokens, cut lists, stuck tasks."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from panda_server.model.entities import FINAL_TASK
from panda_server.web.exchange import Request, Response, Send

if TYPE_CHECKING:
    from panda_server.model.world import World

STUCK = ("brokerage", "pending", "exhausted", "throttled")


@dataclass
class Fault:
    """One fault: for requests whose path fits, so many times (None is always).

    `command` narrows it to one command of the iDDS relay. `made` says whether the request is worked
    on before it goes wrong."""

    path: str
    made: bool
    status: int | None = None
    text: str = ""
    seconds: float = 0.0
    times: int | None = 1
    command: str | None = None
    hits: int = 0

    def fits(self, path: str, command: str | None) -> bool:
        """Whether it strikes this request."""
        spent = self.times is not None and self.hits >= self.times
        named = self.command is None or self.command == command
        return not spent and named and fnmatchcase(path, self.path)


class Faults:
    """The faults of a server. A pattern like `*/task/submit` says where they strike."""

    def __init__(self, world: "Callable[[], World]") -> None:
        self._world = world
        self.active: list[Fault] = []

    def _add(self, fault: Fault) -> Fault:
        self.active.append(fault)
        return fault

    def lose_answers(
        self, path: str = "*", times: int | None = 1, command: str | None = None
    ) -> Fault:
        """The request is worked on, and the connection closed instead of an answer."""
        return self._add(Fault(path, True, times=times, command=command))

    def drop(self, path: str = "*", times: int | None = 1, command: str | None = None) -> Fault:
        """The connection is closed before anything is done."""
        return self._add(Fault(path, False, times=times, command=command))

    def errors(
        self,
        path: str = "*",
        status: int = 500,
        text: str = "database is locked",
        times: int | None = 1,
        made: bool = False,
        command: str | None = None,
    ) -> Fault:
        """An answer with such a status; with `made` after the request was worked on."""
        return self._add(Fault(path, made, status, text, times=times, command=command))

    def slow(
        self,
        seconds: float,
        path: str = "*",
        times: int | None = None,
        command: str | None = None,
    ) -> Fault:
        """The request is worked on at once, and the answer comes so much (real) time later."""
        return self._add(Fault(path, True, -1, seconds=seconds, times=times, command=command))

    def remove(self, fault: Fault) -> None:
        """Take a fault away."""
        self.active.remove(fault)

    def clear(self) -> None:
        """Nothing goes wrong any more; what was made wrong stays so."""
        self.active.clear()
        self._world().most_ids = 5500
        self._world().sticky.clear()

    def striking(self, request: Request) -> Fault | None:
        """The fault of a request, which is counted."""
        command = _relayed(request)
        found = next((f for f in self.active if f.fits(request.path, command)), None)
        if found:
            found.hits += 1
        return found

    # ---- the world

    def void_tokens(self) -> None:
        """All tokens that were issued until now are answered as expired ones."""
        world = self._world()
        with world.lock:
            world.tokens_since = world.clock.wall()
            # Tokens that are issued from now on are younger, also where time stands still.
            world.clock.move(0.001)

    def cut_lists(self, most: int) -> None:
        """Lists of job numbers are cut to so many, as real ones to 5500."""
        self._world().most_ids = most

    def stick(self, tasks: str, how: str) -> None:
        """Tasks of such names get stuck: `brokerage`, `pending`, `exhausted` or `throttled`."""
        if how not in STUCK:
            raise ValueError(f"a task gets stuck in one of {STUCK}, not in {how!r}")
        world = self._world()
        with world.lock:
            world.sticky.append((tasks, how))
            for task in world.tasks.values():
                if world.sticks(task) and task.status not in FINAL_TASK:
                    task.stuck = how
                    world.touch(task)

    def unstick(self, tasks: str = "*") -> None:
        """What hindered such tasks is gone: JEDI finds it at its next look, but for exhausted."""
        world = self._world()
        with world.lock:
            world.sticky = [(name, how) for name, how in world.sticky if name != tasks]
            for task in world.tasks.values():
                if fnmatchcase(str(task.parameters["taskName"]), tasks):
                    task.stuck = None
                    world.touch(task)


def _relayed(request: Request) -> str | None:
    """The command of a request to the relay."""
    if "relay_idds_command" not in request.path:
        return None
    try:
        told: Any = json.loads(request.plain_body())
        return str(told["command_name"])
    except (ValueError, KeyError, TypeError, OSError):
        return None


async def close(send: Send) -> None:
    """Close the connection without a word: uvicorn's `send` belongs to the request's cycle."""
    transport = send.__self__.transport
    transport.abort()


async def strike(fault: Fault, send: Send, response: Response) -> Response | None:
    """The answer after a fault; None if there is none to send."""
    if fault.seconds:
        await asyncio.sleep(fault.seconds)
    if fault.status is None:
        await close(send)
        return None
    return response if fault.status < 0 else Response(fault.status, fault.text)
