"""The files of a facility on another machine, through a server of ours there.

The server starts at the first question, over the facility's transport, and again after the
connection to it was lost. Whatever had no answer then fails with `Unreachable`: every question may be
repeated.
"""

import asyncio
import contextlib
import errno
import itertools
import json
import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

from cmd_daemon.hooks import DriverError, ErrorClass, FarProcess, Host
from cmd_local.programs import file_server_program
from cmd_local.settings import agent_settings

START_S = 30.0
"""How long the server may take to say that it is ready."""
ANSWER_S = 600.0
"""How long one answer may take; the checksum of a large file is the slowest."""
AT_A_TIME = 16
"""Questions under way at a time, so that memory stays bounded here and there."""


class Unreachable(ConnectionError):
    """The files of a facility cannot be reached; `error_class` says whether that may pass."""

    def __init__(self, facility: str, error: DriverError | str) -> None:
        super().__init__(errno.EHOSTUNREACH, f"the files of {facility} cannot be reached: {error}")
        permanent = isinstance(error, DriverError) and error.error_class is ErrorClass.PERMANENT
        self.error_class = ErrorClass.PERMANENT if permanent else ErrorClass.TRANSIENT

    def __str__(self) -> str:
        return str(self.strerror)


class _Line:
    """One running server and the questions it has not answered."""

    def __init__(self, process: FarProcess) -> None:
        self.process = process
        self.waiting: dict[int, asyncio.Future[tuple[Any, bytes]]] = {}
        self.writing = asyncio.Lock()
        self.tasks: list[asyncio.Task[None]] = []
        self.words = ""
        self.broken: DriverError | str | None = None


class FarFiles:
    """The files of one facility. What fails raises OSError, with the errno of the far side."""

    def __init__(self, facility: str, host: Host) -> None:
        self._facility = facility
        self._host = host
        self._line: _Line | None = None
        self._starting = asyncio.Lock()
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._numbers = itertools.count(1)
        self.started = 0
        """How often the server was started."""

    async def ask(self, op: str, data: bytes = b"", **fields: Any) -> tuple[Any, bytes]:
        """The answer to one question and its bytes. Raises OSError."""
        async with self._room:
            line = await self._running()
            number = next(self._numbers)
            answer: asyncio.Future[tuple[Any, bytes]] = asyncio.get_running_loop().create_future()
            line.waiting[number] = answer
            question = {"id": number, "op": op, "bytes": len(data), **fields}
            try:
                async with asyncio.timeout(ANSWER_S):
                    await asyncio.shield(self._write(line, json.dumps(question).encode(), data))
                    return await answer
            except TimeoutError:
                await self._break(line, f"no answer to '{op}' within {ANSWER_S:g} s")
                raise Unreachable(self._facility, str(line.broken)) from None
            finally:
                line.waiting.pop(number, None)
                if answer.done() and not answer.cancelled():
                    answer.exception()

    async def _write(self, line: _Line, question: bytes, data: bytes) -> None:
        """Write a question as a whole: half of one would break all that come after it."""
        async with line.writing:
            try:
                await line.process.write(question + b"\n" + data)
            except DriverError as error:
                await self._break(line, error)

    async def _running(self) -> _Line:
        async with self._starting:
            if self._line is None or self._line.broken is not None:
                try:
                    self._line = await self._start()
                except DriverError as error:
                    raise Unreachable(self._facility, error) from error
            return self._line

    async def _start(self) -> _Line:
        info = self._host.facility(self._facility)
        program = file_server_program(info, agent_settings(info))
        transport = self._host.transport(self._facility)
        folder = await transport.install(program.files)
        line = _Line(await transport.open(program.argv(folder), program.env))
        errors = asyncio.create_task(self._keep_words(line))
        try:
            async with asyncio.timeout(START_S):
                while not _is_ready(first := await line.process.readline()):
                    if not first:
                        await asyncio.wait([errors], timeout=1.0)
                        words = line.words or "it said nothing"
                        raise DriverError(
                            ErrorClass.TRANSIENT, f"the server of files there ended: {words}"
                        )
        except BaseException as error:
            errors.cancel()
            await line.process.close()
            if isinstance(error, TimeoutError | ValueError):
                raise DriverError(
                    ErrorClass.TRANSIENT, f"the server of files was not ready after {START_S:g} s"
                ) from None
            raise
        line.tasks = [errors, asyncio.create_task(self._take(line))]
        self.started += 1
        return line

    async def _keep_words(self, line: _Line) -> None:
        with contextlib.suppress(DriverError):
            while data := await line.process.read_errors():
                words = data.decode(errors="replace").strip().splitlines()
                line.words = words[-1][:500] if words else line.words

    async def _take(self, line: _Line) -> None:
        """Take answers until there are no more."""
        broken: DriverError | str = "the server of files there ended"
        try:
            while text := await line.process.readline():
                told = json.loads(text)
                size = int(told["bytes"])
                data = await line.process.readexactly(size) if size else b""
                if len(data) < size:
                    break
                self._give(line, told, data)
        except DriverError as error:
            broken = error
        except (ValueError, LookupError, TypeError) as error:
            broken = f"the server of files there talks nonsense: {error}"
        if line.words and isinstance(broken, str):
            broken = f"{broken}: {line.words}"
        await self._break(line, broken)

    def _give(self, line: _Line, told: Mapping[str, Any], data: bytes) -> None:
        answer = line.waiting.get(int(told["id"]))
        if answer is None or answer.done():
            return  # who asked has gone away
        if told["ok"] is True:
            answer.set_result((told["result"], data))
        elif told["errno"] is None:
            answer.set_exception(OSError(errno.EIO, str(told["message"])))
        else:
            answer.set_exception(OSError(int(told["errno"]), str(told["message"])))

    async def _break(self, line: _Line, why: DriverError | str) -> None:
        """The server is of no more use: end it, and fail what waits for it."""
        first = line.broken is None
        line.broken = line.broken or why
        for answer in line.waiting.values():
            if not answer.done():
                answer.set_exception(Unreachable(self._facility, line.broken))
        if first:
            await line.process.close()

    async def close(self) -> None:
        """End the server; the next question starts it again."""
        async with self._starting:
            line, self._line = self._line, None
        if line is not None:
            await self._break(line, "it was closed")
            for task in line.tasks:
                task.cancel()
            await asyncio.wait(line.tasks)


def _is_ready(line: bytes) -> bool:
    """Whether this is the server's first line; login files may print before it."""
    with contextlib.suppress(ValueError):
        told = json.loads(line)
        return isinstance(told, dict) and told.get("ready") == "file server"
    return False


class FileServers:
    """The servers of files at all facilities, shared by the movers of one daemon."""

    _made: ClassVar["weakref.WeakValueDictionary[int, FileServers]"] = weakref.WeakValueDictionary()

    def __init__(self, host: Host) -> None:
        self._host = host
        self._files: dict[str, FarFiles] = {}
        self._holders: set[int] = set()

    @classmethod
    def of(cls, host: Host) -> "FileServers":
        """The servers of one daemon; they live as long as somebody holds them."""
        made = cls._made.get(id(host))
        if made is None:
            made = cls._made[id(host)] = cls(host)
        return made

    def at(self, facility: str, who: object) -> FarFiles:
        """The files of a facility, for somebody who lets go of them later."""
        self._holders.add(id(who))
        return self._files.setdefault(facility, FarFiles(facility, self._host))

    async def let_go(self, who: object) -> None:
        """Somebody needs no files any more; the last one ends the servers."""
        self._holders.discard(id(who))
        if not self._holders:
            for files in list(self._files.values()):
                await files.close()
