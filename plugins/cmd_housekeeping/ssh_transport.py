"""The transport `ssh`: programs of ours at a facility reached over ssh.

It speaks over the facility's one connection, which the driver `ssh` uses too, and is configured by
the same section. A program lies below `{work_dir}/programs/` in a folder named after its content.

A process that hangs does not end with its input, and few servers end one on request. So each tells
its process id first and carries a mark in its environment: it can be killed by a command, also after
the connection to it was lost, and nobody else who has its number by then is hit.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo, Host, Ran
from cmd_housekeeping.connection import Connection, Connections, RemoteProcess
from cmd_housekeeping.settings import SshSettings

NAME = "ssh"
LINE_LIMIT = 64 * 1024 * 1024
READ = 1024 * 1024
PATIENCE_S = 2.0
"""How long a process may go on after its input has ended."""
MARK = "CMD_PROCESS"
GREETING = b"#cmd-process "
START = 'echo "#cmd-process $$"; exec "$@"'
KILL = f'tr "\\0" "\\n" < /proc/$1/environ | grep -qx "{MARK}=$2" && kill -KILL "$1"'


class SshProcess:
    """A long-lived command at the far side; see `FarProcess`."""

    def __init__(self, transport: "SshTransport", remote: RemoteProcess, mark: str) -> None:
        self._transport = transport
        self._remote = remote
        self._mark = mark
        self._pid = 0
        self._ahead = bytearray()

    async def begin(self) -> None:
        """Wait until the process tells its id, past what login files print."""
        while not (line := await self.readline()).startswith(GREETING):
            if not line:
                words = (await self.read_errors()).decode(errors="replace").strip()
                raise DriverError(
                    ErrorClass.TRANSIENT,
                    f"a command ended before it began: {words[-500:] or 'it wrote nothing'}",
                )
        self._pid = int(line[len(GREETING) :])

    async def _more(self) -> bool:
        data = await self._remote.read(READ)
        self._ahead += data
        return bool(data)

    def _taken(self, size: int) -> bytes:
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    async def write(self, data: bytes) -> None:
        """See `FarProcess`."""
        await self._remote.write(data)

    async def readline(self) -> bytes:
        """See `FarProcess`; ValueError for a line above 64 MiB."""
        seen = 0
        while (end := self._ahead.find(b"\n", seen)) < 0:
            seen = len(self._ahead)
            if seen > LINE_LIMIT:
                raise ValueError("a line larger than 64 MiB")
            if not await self._more():
                return self._taken(seen)
        return self._taken(end + 1)

    async def readexactly(self, size: int) -> bytes:
        """See `FarProcess`."""
        while len(self._ahead) < size and await self._more():
            pass
        return self._taken(size)

    async def read_errors(self) -> bytes:
        """See `FarProcess`."""
        return await self._remote.read_errors()

    async def wait(self) -> int | None:
        """See `FarProcess`."""
        return await self._remote.wait()

    async def close(self) -> None:
        """See `FarProcess`. One that cannot be reached any more is killed when the facility can be."""
        self._remote.end_input()
        if not await self._remote.ended(PATIENCE_S):
            with contextlib.suppress(DriverError):
                await self._transport.kill(self._pid, self._mark)
            await self._remote.ended(PATIENCE_S)
        await self._remote.close()
        if self._pid and not self._remote.has_ended:
            self._transport.adrift.add((self._pid, self._mark))


class SshTransport:
    """The way to one facility over ssh; see `Transport`."""

    name = NAME

    def __init__(self, connection: Connection, settings: SshSettings) -> None:
        self.connection = connection
        self._settings = settings
        self._installing = asyncio.Lock()
        self.adrift: set[tuple[int, str]] = set()
        """Processes that nobody knows the end of: id and mark."""

    async def open(self, argv: Sequence[str], env: Mapping[str, str]) -> SshProcess:
        """See `Transport`. Processes that a lost connection has left behind are killed first."""
        self.connection.hold(self)
        for pid, mark in list(self.adrift):
            await self.kill(pid, mark)
            self.adrift.discard((pid, mark))
        mark = secrets.token_hex(16)
        command = ["sh", "-c", START, "sh", *with_env(argv, {**env, MARK: mark})]
        process = SshProcess(self, await self.connection.open(command, lasting=True), mark)
        try:
            async with asyncio.timeout(self._settings.call_s):
                await process.begin()
        except TimeoutError:
            await process.close()
            raise DriverError(ErrorClass.UNKNOWN, f"{argv[0]} did not begin in time") from None
        except BaseException:
            await process.close()
            raise
        return process

    async def kill(self, pid: int, mark: str) -> None:
        """Kill a process of ours if it still runs. Raises DriverError if nobody can see to that."""
        if pid:
            await self.connection.run(["sh", "-c", KILL, "sh", str(pid), mark], timeout_s=10.0)

    async def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: bytes = b"",
        timeout_s: float = 60.0,
    ) -> Ran:
        """See `Transport`."""
        self.connection.hold(self)
        return await self.connection.run(with_env(argv, env), stdin, timeout_s)

    async def install(self, files: Mapping[str, bytes]) -> str:
        """See `Transport`."""
        self.connection.hold(self)
        async with self._installing:
            return await install(self.connection, self._settings.work_dir, files)

    async def close(self) -> None:
        """See `Transport`; the connection ends when the driver does not need it either."""
        await self.connection.let_go(self)


async def install(connection: Connection, work_dir: str, files: Mapping[str, bytes]) -> str:
    """Make sure that the files lie in a folder below `{work_dir}/programs`; returns the folder, whose
    name follows from their names and content. Raises what the connection raises.

    Each file appears whole, and one that somebody has removed is put there again.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    folder = f"{work_dir}/programs/{digest.hexdigest()[:16]}"
    ran = await connection.run(["ls", "-1", folder])
    there = set(ran.stdout.decode(errors="replace").splitlines()) if ran.code == 0 else set()
    for name in sorted(files):
        if name not in there:
            await connection.put(files[name], f"{folder}/{name}")
    return folder


def with_env(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """The command that runs `argv` with `env` added to the environment of the account."""
    return ["/usr/bin/env", *(f"{name}={value}" for name, value in env.items()), *argv]


class SshTransportFactory:
    """Makes the transport of each facility with `transport = "ssh"`."""

    name = NAME

    def __init__(self, connections: Connections | None = None) -> None:
        self._connections = connections or Connections()

    def create(self, facility: FacilityInfo, host: Host) -> SshTransport:
        """Make the transport; raises DriverError PERMANENT if the facility's section ssh is wrong."""
        try:
            settings = SshSettings.model_validate(facility.settings.get(NAME, {}))
        except ValidationError as error:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"facility {facility.name}: section '{NAME}' of its settings is wrong: {error}",
            ) from error
        return SshTransport(self._connections.of(facility.name, settings), settings)
