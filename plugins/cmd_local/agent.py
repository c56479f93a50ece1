"""The agent of a facility, seen from here: one long-lived process that answers JSON lines.

It runs in the facility's stack, started over the facility's transport, which brings its program there.
It starts at the first call and again, after a growing pause, when it has died or the connection to
it was lost. Calls may be under way at the same time; each has its own deadline. The agent's
standard error goes to a log file in the daemon's state directory that starts anew, keeping the one
before, when it is 4 MiB large.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo, FarProcess, Host
from cmd_local.programs import Program, agent_program
from cmd_local.settings import AgentSettings, agent_settings

LINE_LIMIT = 64 * 1024 * 1024
LOG_LIMIT = 4 * 1024 * 1024
OVERRUNS = 2
"""So many deadlines overrun without any answer between them, and the agent is taken as hung."""


LAST_WORDS_S = 1.0
"""How long what a process wrote before its end is waited for."""
ENDED_S = 10.0
"""How long the end of a process that was ended by force is waited for."""


class _Life:
    """One life of the agent's process, from start to death."""

    def __init__(self, process: FarProcess) -> None:
        self.process = process
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.ready: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.overruns = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.ending: asyncio.Task[None] | None = None
        self.dead = False

    def end(self) -> "asyncio.Task[None]":
        """End the process by force; who reads from it sees its end and tells those who wait."""
        if self.ending is None:
            self.ending = asyncio.create_task(self._end())
        return self.ending

    async def _end(self) -> None:
        await self.process.close()
        # A process that cannot be ended from here must not hold up those who wait for it.
        await asyncio.wait(self.tasks[:1], timeout=LAST_WORDS_S)
        self.tasks[0].cancel()


class ButlerAgent:
    """The agent of one facility. `what` is how messages and its log file call it, where a facility has
    more than one."""

    def __init__(
        self,
        name: str,
        program: Program,
        settings: AgentSettings,
        host: Host,
        what: str = "agent",
    ) -> None:
        self._name = name
        self._what = what
        self._program = program
        self._settings = settings
        self._host = host
        self._log = host.state_dir / "agents" / f"{what.replace(' ', '-')}-{name}.log"
        self._life: _Life | None = None
        self._starting: asyncio.Task[_Life] | None = None
        self._numbers = itertools.count(1)
        self._deaths = 0
        self._not_before = 0.0
        self._last_words = ""
        self._closed = False

    def _error(self, error_class: ErrorClass, what: str) -> DriverError:
        return DriverError(error_class, f"{self._what} of facility {self._name}: {what}")

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        """Ask for `op`; its JSON result. `timeout_s` counts from when the agent is ready. A `ping`
        while it is busy is answered at once.

        Raises DriverError: the agent's own class for an error it tells, TRANSIENT when it cannot
        be started, died before it answered, or did not answer in time.
        """
        life = await self._alive()
        if op == "ping" and life.waiting:
            # It does one thing at a time; whether it hangs the deadlines of the others will tell.
            return {name: life.ready.result().get(name) for name in ("pid", "repos")}
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "op": op, "args": dict(args)}) + "\n"
        if len(line) > LINE_LIMIT:
            raise self._error(ErrorClass.PERMANENT, f"the question '{op}' is larger than 64 MiB")
        life.waiting[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self._write(life, line)
                return await answer
        except TimeoutError:
            life.overruns += 1
            if life.overruns >= OVERRUNS:
                life.end()
            raise self._error(
                ErrorClass.TRANSIENT, f"no answer to '{op}' within {timeout_s:g} s"
            ) from None
        finally:
            life.waiting.pop(number, None)
            if answer.done() and not answer.cancelled():
                answer.exception()

    async def _write(self, life: _Life, line: str) -> None:
        try:
            await life.process.write(line.encode())
        except DriverError:
            raise self._death() from None

    def _death(self) -> DriverError:
        words = f"; its last words: {self._last_words}" if self._last_words else ""
        return self._error(ErrorClass.TRANSIENT, f"it died; see {self._log}{words}")

    async def _alive(self) -> _Life:
        """The agent, started if need be; a caller that goes away does not end the start."""
        if self._closed:
            raise self._error(ErrorClass.TRANSIENT, "it was closed with the daemon")
        if self._life is not None and not self._life.dead:
            if self._life.ending is not None:
                raise self._error(ErrorClass.TRANSIENT, "it hangs and is being ended")
            return self._life
        if self._starting is None or self._starting.done():
            wait = self._not_before - asyncio.get_running_loop().time()
            if wait > 0:
                words = f" ({self._last_words})" if self._last_words else ""
                raise self._error(
                    ErrorClass.TRANSIENT, f"it died{words} and is started again in {wait:.0f} s"
                )
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(_look_at)
        return await asyncio.shield(self._starting)

    async def _start(self) -> _Life:
        program = self._program
        try:
            transport = self._host.transport(self._name)
        except KeyError:
            raise self._error(
                ErrorClass.PERMANENT, "no plugin that is loaded brings the facility's transport"
            ) from None
        try:
            folder = await transport.install(program.files)
            process = await transport.open(program.argv(folder), program.env)
        except DriverError as error:
            self._pause()
            permanent = error.error_class is ErrorClass.PERMANENT
            raise self._error(
                ErrorClass.PERMANENT if permanent else ErrorClass.TRANSIENT,
                f"it cannot be started: {error}",
            ) from error
        life = _Life(process)
        taking = asyncio.create_task(self._take_lines(life))
        logging = asyncio.create_task(self._keep_log(life))
        life.tasks = [taking, logging]
        life.tasks.append(asyncio.create_task(self._attend(life, taking, logging)))
        try:
            async with asyncio.timeout(self._settings.start_s):
                await asyncio.shield(life.ready)
        except TimeoutError:
            life.end()
            await asyncio.wait(life.tasks[2:], timeout=ENDED_S)
            raise self._error(
                ErrorClass.TRANSIENT, f"it was not ready after {self._settings.start_s:g} s"
            ) from None
        except asyncio.CancelledError:
            life.end()
            await asyncio.wait(life.tasks[2:], timeout=ENDED_S)
            raise
        self._life = life
        return life

    def _pause(self) -> None:
        """Say when the agent may be started again; the pause doubles with each death."""
        pause = min(
            self._settings.backoff_s * 2.0 ** min(self._deaths, 30), self._settings.backoff_max_s
        )
        self._deaths += 1
        self._not_before = asyncio.get_running_loop().time() + pause

    async def _take_lines(self, life: _Life) -> None:
        """Take the agent's lines until it ends or cannot be heard any more."""
        try:
            while line := await life.process.readline():
                self._take(life, line)
        except ValueError:  # a line above the limit
            self._last_words = "it sent a line larger than 64 MiB"
        except DriverError as error:  # the connection broke
            self._last_words = str(error)

    async def _attend(
        self, life: _Life, taking: "asyncio.Task[None]", logging: "asyncio.Task[None]"
    ) -> None:
        """Wait for the agent's end, then fail what is still waited for."""
        await asyncio.wait([taking])
        await asyncio.wait([life.end()])
        await asyncio.wait([logging], timeout=LAST_WORDS_S)
        logging.cancel()
        life.dead = True
        if not self._closed:
            self._pause()
        death = self._death()
        for future in [life.ready, *life.waiting.values()]:
            if not future.done():
                future.set_exception(death)
        if life.ready.done() and not life.ready.cancelled():
            life.ready.exception()

    def _take(self, life: _Life, line: bytes) -> None:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):  # a line of brackets only nests too deep
            document = None
        if not isinstance(document, dict):
            self._last_words = f"a line that is no answer: {line[:200]!r}"
            return
        if document.get("ready"):
            if not life.ready.done():
                life.ready.set_result(document)
            return
        number = document.get("id")
        # True and 1.0 are equal to 1, and the answer to no call.
        future = life.waiting.get(number) if type(number) is int else None
        if future is None or future.done():
            return  # the answer to a call whose deadline is past
        life.overruns = 0
        self._deaths = 0
        if document.get("ok") is True:
            future.set_result(document.get("result"))
        else:
            future.set_exception(self._told(document.get("error")))

    def _told(self, error: Any) -> DriverError:
        """The error an agent tells of."""
        fields = error if isinstance(error, dict) else {}
        try:
            error_class = ErrorClass(str(fields.get("class")))
        except ValueError:
            error_class = ErrorClass.PERMANENT
        return self._error(error_class, str(fields.get("message") or "an error without words"))

    async def _keep_log(self, life: _Life) -> None:
        tail = b""
        with contextlib.suppress(DriverError):  # the connection broke
            while data := await life.process.read_errors():
                tail = (tail + data)[-4096:]  # a line may come in pieces
                words = tail.decode(errors="replace").strip().splitlines()
                self._last_words = words[-1][:500] if words else self._last_words
                with contextlib.suppress(OSError):  # a full disk must not end the agent
                    await asyncio.to_thread(self._append, data)

    def _append(self, data: bytes) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._log.open("ab") as out:
            out.write(data)

    async def close(self) -> None:
        """End the agent: its input is closed, and it is killed if it goes on for two seconds."""
        self._closed = True
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        life = self._life
        if life is None or life.dead:
            return
        life.end()
        await asyncio.wait(life.tasks, timeout=ENDED_S)


def _look_at(task: "asyncio.Task[_Life]") -> None:
    """Take note of a failed start that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


class ButlerAgentFactory:
    """Makes the Butler agent of a facility."""

    name = "butler"

    def create(self, facility: FacilityInfo, host: Host) -> ButlerAgent:
        """Make the agent; raises DriverError PERMANENT if its configuration is wrong."""
        settings = agent_settings(facility)
        return ButlerAgent(facility.name, agent_program(facility, settings), settings, host)
