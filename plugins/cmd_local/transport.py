"""The transport `local`: programs of ours as child processes of the daemon, on its own machine.

They get the daemon's environment only in what `PASSED_ON` names, so that its secrets stay with it.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo, Host, Ran
from cmd_local.attempts import sync_directory

NAME = "local"
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
LINE_LIMIT = 64 * 1024 * 1024
READ = 64 * 1024
PATIENCE_S = 2.0
"""How long a process may go on after its input has ended."""


class LocalProcess:
    """A long-lived child process in a session of its own; see `FarProcess`."""

    def __init__(self, process: asyncio.subprocess.Process, what: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._what = what

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.returncode

    async def write(self, data: bytes) -> None:
        """See `FarProcess`."""
        try:
            self._stdin.write(data)
            await self._stdin.drain()
        except (OSError, RuntimeError) as error:
            raise DriverError(
                ErrorClass.UNKNOWN, f"{self._what} takes no input: {error}"
            ) from error

    async def readline(self) -> bytes:
        """See `FarProcess`; ValueError for a line above 64 MiB."""
        return await self._stdout.readline()

    async def readexactly(self, size: int) -> bytes:
        """See `FarProcess`."""
        try:
            return await self._stdout.readexactly(size)
        except asyncio.IncompleteReadError as error:
            return error.partial

    async def read_errors(self) -> bytes:
        """See `FarProcess`."""
        return await self._stderr.read(READ)

    async def wait(self) -> int | None:
        """See `FarProcess`."""
        return await self._process.wait()

    async def close(self) -> None:
        """See `FarProcess`."""
        self._stdin.close()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            _kill(self._process)
            await self._process.wait()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._stdin.wait_closed(), 1.0)


class LocalTransport:
    """The way to a facility on the daemon's own machine; see `Transport`."""

    name = NAME

    def __init__(self, facility: str, state_dir: Path) -> None:
        self._facility = facility
        self._programs = state_dir / "programs"

    async def _start(
        self, argv: Sequence[str], env: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**passed, **env},
                limit=LINE_LIMIT,
                start_new_session=True,
            )
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"{argv[0]} cannot be started at facility {self._facility}: {error}",
            ) from error

    async def open(self, argv: Sequence[str], env: Mapping[str, str]) -> LocalProcess:
        """See `Transport`."""
        process = await self._start(argv, env)
        return LocalProcess(process, f"{argv[0]} at facility {self._facility}")

    async def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: bytes = b"",
        timeout_s: float = 60.0,
    ) -> Ran:
        """See `Transport`; a command whose time is over is killed."""
        process = await self._start(argv, env)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            raise DriverError(
                ErrorClass.UNKNOWN,
                f"{argv[0]} at facility {self._facility} did not end within {timeout_s:g} s",
            ) from None
        finally:
            _kill(process)
            await process.wait()
        assert process.returncode is not None
        return Ran(process.returncode, out, err)

    async def install(self, files: Mapping[str, bytes]) -> str:
        """See `Transport`; below `programs` of the daemon's state directory."""
        try:
            return str(await asyncio.to_thread(_install, self._programs, files))
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"a program cannot be put below {self._programs} for facility {self._facility}: "
                f"{error}",
            ) from error

    async def close(self) -> None:
        """See `Transport`; nothing is held."""


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill a child that still runs, with its children."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _install(programs: Path, files: Mapping[str, bytes]) -> Path:
    digest = sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    folder = programs / digest.hexdigest()[:16]
    if all((folder / name).is_file() for name in files):
        return folder
    making = programs / f".{folder.name}.{secrets.token_hex(4)}"
    making.mkdir(parents=True)
    for name, data in files.items():
        (making / name).write_bytes(data)
    if folder.exists():  # somebody took a file out of it
        for name in files:
            (making / name).replace(folder / name)
        shutil.rmtree(making)
    else:
        try:
            making.rename(folder)
        except OSError:  # another one was faster
            shutil.rmtree(making)
            if not folder.is_dir():
                raise
    sync_directory(programs)
    return folder


class LocalTransportFactory:
    """Makes the transport of each facility on the daemon's own machine."""

    name = NAME

    def create(self, facility: FacilityInfo, host: Host) -> LocalTransport:
        """Make the transport."""
        return LocalTransport(facility.name, host.state_dir)
