"""One ssh connection to a facility, shared by everything of ours that runs there.

Connects at the first use, again after a loss, and not more often than the back-off allows. Host
keys are always verified. Commands share the connection as channels; when the server opens fewer
than the settings say, the connection learns it and asks for no more.
"""

import asyncio
import contextlib
import os
import shlex
import stat
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import asyncssh

from cmd_daemon.hooks import DriverError, ErrorClass, Ran
from cmd_housekeeping.settings import SshSettings

CHUNK = 256 * 1024
GET_TRIES = 5
CLOSE_S = 0.5
SETTLE_S = 0.05

T = TypeVar("T")


class Lost(DriverError):
    """The connection broke after a command was sent: it may have run, it may still run."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorClass.UNKNOWN, message)


class _Channels:
    """A bound on open channels that can be lowered. `lasting` ones are held by long-lived commands."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lasting = 0
        self.freed = 0
        """How often a channel was given back."""
        self._free = asyncio.Semaphore(limit)

    @property
    def spare(self) -> int:
        """The channels left for short commands."""
        return self.limit - self.lasting

    async def take(self) -> None:
        """Wait for a free channel."""
        await self._free.acquire()

    def give_back(self) -> None:
        """Free a channel."""
        self.freed += 1
        self._free.release()

    def withhold(self) -> bool:
        """Keep the channel just taken for ever, for the server opens no more; False for the last."""
        if self.limit == 1:
            return False
        self.limit -= 1
        return True


@dataclass(frozen=True, slots=True)
class _Link:
    """An established connection and its channels."""

    ssh: asyncssh.SSHClientConnection
    channels: _Channels


class RemoteProcess:
    """A long-lived command at the far side; holds one channel until its end is known.

    Reading and writing raise `Lost` when the connection broke.
    """

    def __init__(
        self,
        process: "asyncssh.SSHClientProcess[bytes]",
        channels: _Channels,
        there: str,
        lasting: bool = False,
    ) -> None:
        self._process = process
        self._channels = channels
        self._there = there
        self._lasting = lasting
        # The server counts a channel until its command has ended, not until we turn away.
        self._ended = asyncio.create_task(process.wait_closed())
        self._ended.add_done_callback(self._give_back)

    def _give_back(self, _: object) -> None:
        self._channels.lasting -= self._lasting
        self._channels.give_back()

    @contextlib.contextmanager
    def _or_lost(self) -> Iterator[None]:
        try:
            yield
        except (OSError, asyncssh.Error) as error:
            raise Lost(f"the connection to {self._there} was lost: {error}") from error

    async def write(self, data: bytes) -> None:
        """Write to the command's input, as fast as it takes it."""
        with self._or_lost():
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def readline(self) -> bytes:
        """The next line of its output; empty at the end."""
        with self._or_lost():
            return _bytes(await self._process.stdout.readline())

    async def read(self, size: int = CHUNK) -> bytes:
        """The next bytes of its output; empty at the end."""
        with self._or_lost():
            return _bytes(await self._process.stdout.read(size))

    async def read_errors(self, size: int = CHUNK) -> bytes:
        """The next bytes of its standard error; empty at the end."""
        with self._or_lost():
            return _bytes(await self._process.stderr.read(size))

    async def communicate(self, stdin: bytes) -> Ran:
        """Give it all of its input and wait for its end."""
        with self._or_lost():
            out, err = await self._process.communicate(stdin)
        code = self._process.returncode
        if code is None:
            raise Lost(f"the connection to {self._there} was lost: no exit status came")
        return Ran(code, _bytes(out), _bytes(err))

    async def wait(self) -> int | None:
        """Wait for its end: the exit code, None if the connection was lost."""
        await asyncio.shield(self._ended)
        return self._process.returncode

    async def ended(self, timeout_s: float) -> bool:
        """Whether it ends within so many seconds."""
        done, _ = await asyncio.wait([self._ended], timeout=timeout_s)
        return bool(done)

    @property
    def has_ended(self) -> bool:
        """Whether its end is known: it is not when the connection was lost."""
        return self._process.returncode is not None

    def end_input(self) -> None:
        """Tell it that no more input comes."""
        with contextlib.suppress(OSError, asyncssh.Error):
            self._process.stdin.write_eof()

    async def close(self) -> None:
        """End its input and turn away from it. A well-behaved command ends with its input."""
        self._process.close()
        await asyncio.wait([self._ended], timeout=CLOSE_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()


class Connection:
    """The connection to one facility's machine.

    All methods raise DriverError: TRANSIENT when the machine cannot be reached or opens no channel
    (nothing was sent then), PERMANENT for a wrong host key or credential, and `Lost` (UNKNOWN) when
    the connection broke or the time was over after the command was sent.
    """

    def __init__(self, facility: str, settings: SshSettings) -> None:
        self._settings = settings
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._failed: DriverError | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._holders: set[int] = set()
        self._there = f"{settings.user}@{settings.host}:{settings.port} (facility {facility})"
        self.connected = 0
        """How often the connection was established."""

    # ---- connecting

    async def _linked(self) -> _Link:
        """The living connection, made anew if need be."""
        async with self._connecting:
            if self._link is not None and not self._link.ssh.is_closed():
                return self._link
            self._link = None
            loop = asyncio.get_running_loop()
            wait = self._retry_at - loop.time()
            if self._failed is not None and wait > 0:
                raise DriverError(
                    self._failed.error_class, f"{self._failed}; next try in {wait:.0f} s"
                )
            try:
                ssh = await self._connect()
            except DriverError as error:
                settings = self._settings
                pause = settings.backoff_s * 2 ** min(self._failures, 30)
                self._failures += 1
                self._retry_at = loop.time() + min(settings.backoff_max_s, pause)
                self._failed = error
                raise
            self._failed, self._failures = None, 0
            self.connected += 1
            self._link = _Link(ssh, _Channels(self._settings.channels))
            return self._link

    async def _connect(self) -> asyncssh.SSHClientConnection:
        settings = self._settings
        key, hosts = await asyncio.to_thread(self._credentials)
        try:
            async with asyncio.timeout(settings.connect_s):
                return await asyncssh.connect(
                    settings.host,
                    settings.port,
                    username=settings.user,
                    known_hosts=hosts,
                    client_keys=[key],
                    # Nothing of the daemon user's own: no ssh configuration, no agent, no other key.
                    config=None,
                    agent_path=None,
                    pkcs11_provider=None,
                    gss_kex=False,
                    gss_auth=False,
                    host_based_auth=False,
                    kbdint_auth=False,
                    password_auth=False,
                    keepalive_interval=settings.keepalive_s,
                    keepalive_count_max=3,
                    login_timeout=settings.connect_s,
                )
        except asyncssh.HostKeyNotVerifiable as error:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"{self._there} shows a host key that is not the one in {settings.known_hosts}; it "
                "was changed, or this is another machine. Ask the facility, and put the new key "
                "into that file only if they confirm it",
            ) from error
        except asyncssh.PermissionDenied as error:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"{self._there} does not let the key {settings.key} in ({error}); is its public "
                "half among the account's authorized_keys?",
            ) from error
        except TimeoutError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"{self._there} did not answer in {settings.connect_s:g} s",
            ) from error
        except (OSError, asyncssh.Error) as error:
            raise DriverError(
                ErrorClass.TRANSIENT, f"{self._there} cannot be reached: {error}"
            ) from error

    def _credentials(self) -> tuple[asyncssh.SSHKey, asyncssh.SSHKnownHosts]:
        """The private key and the known hosts. DriverError PERMANENT if a file is no good."""
        settings = self._settings
        try:
            word = settings.key_password_file
            for secret in (settings.key, word):
                if secret is not None and secret.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise DriverError(
                        ErrorClass.PERMANENT,
                        f"the key {secret} for {self._there} is open to others; chmod 600 it",
                    )
            phrase = None if word is None else word.read_text().rstrip("\n")
            key = asyncssh.read_private_key(settings.key, phrase)
            hosts = asyncssh.read_known_hosts(os.fspath(settings.known_hosts))
        except (OSError, ValueError) as error:  # asyncssh's key errors are ValueErrors
            raise DriverError(
                ErrorClass.PERMANENT,
                f"the key {settings.key} or the file {settings.known_hosts} for {self._there} "
                f"cannot be used: {error}",
            ) from error
        return key, hosts

    def hold(self, who: object) -> None:
        """Take note of somebody who needs the connection."""
        self._holders.add(id(who))

    async def let_go(self, who: object) -> None:
        """Somebody does not need the connection any more; the last one closes it."""
        self._holders.discard(id(who))
        if not self._holders:
            await self.close()

    async def close(self) -> None:
        """End the connection; commands detached at the far side go on. May be used again."""
        async with self._connecting:
            link, self._link = self._link, None
            if link is not None:
                link.ssh.close()
                with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                    async with asyncio.timeout(5.0):
                        await link.ssh.wait_closed()
                link.ssh.abort()

    # ---- channels

    async def _channel(
        self,
        make: Callable[[asyncssh.SSHClientConnection], Awaitable[T]],
        end: Callable[[T], Any],
        lasting: bool = False,
    ) -> tuple[T, _Channels]:
        """Open a channel by `make`; the caller gives it back. `end` ends one that nobody wants."""
        once_more = True
        for _ in range(self._settings.channels + 3):
            link = await self._linked()
            if link.channels.spare < 1 + lasting:
                raise DriverError(
                    ErrorClass.TRANSIENT,
                    f"{self._there} opens {link.channels.limit} channels at a time, too few for the "
                    "Butler agent, the file server and commands: raise MaxSessions of its server, or "
                    "`channels` of the facility's section ssh",
                )
            await link.channels.take()
            opening = asyncio.ensure_future(make(link.ssh))
            try:
                return await asyncio.shield(opening), link.channels
            except asyncio.CancelledError:
                opening.add_done_callback(partial(_let_go, link, end))
                raise
            except asyncssh.ChannelOpenError as error:
                if error.code == asyncssh.OPEN_REQUEST_SESSION_FAILED:
                    link.channels.give_back()
                    if link.ssh.is_closed():
                        raise self._lost(error) from error
                    raise DriverError(
                        ErrorClass.TRANSIENT, f"{self._there} runs no commands for us: {error}"
                    ) from error
                # Not opened: certainly nothing was run, so that another try does no harm. OpenSSH
                # may not have noticed yet that a command of ours has just ended.
                if once_more and link.channels.freed:
                    once_more = False
                    link.channels.give_back()
                    await asyncio.sleep(SETTLE_S)
                elif link.ssh.is_closed() or not link.channels.withhold():
                    link.channels.give_back()
                    await asyncio.sleep(0)
            except (OSError, asyncssh.Error) as error:
                link.channels.give_back()
                raise self._lost(error) from error
        raise DriverError(ErrorClass.TRANSIENT, f"{self._there} opens no channel for us")

    def _lost(self, error: BaseException | str) -> Lost:
        return Lost(f"the connection to {self._there} was lost: {error}")

    async def open(self, argv: Sequence[str], lasting: bool = False) -> RemoteProcess:
        """Start a command that is spoken to over its input and output. One that is `lasting` leaves
        at least one channel to others."""
        command = shlex.join(argv)
        process, channels = await self._channel(
            lambda ssh: ssh.create_process(command, encoding=None),
            lambda late: late.close(),
            lasting,
        )
        channels.lasting += lasting
        return RemoteProcess(process, channels, self._there, lasting)

    async def run(
        self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float | None = None
    ) -> Ran:
        """Run a command to its end. The far side's login shell sees the arguments quoted.

        That our time is over does not end the command at the far side.
        """
        limit = timeout_s or self._settings.call_s
        async with await self.open(argv) as remote:
            try:
                async with asyncio.timeout(limit):
                    return await remote.communicate(stdin)
            except TimeoutError:
                raise Lost(f"{self._there} did not answer in {limit:g} s") from None

    # ---- files

    @contextlib.asynccontextmanager
    async def _sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        sftp, channels = await self._channel(
            lambda ssh: ssh.start_sftp_client(), lambda late: late.exit()
        )
        try:
            yield sftp
        finally:
            sftp.exit()
            channels.give_back()

    async def put(self, data: bytes, path: str, mode: int = 0o600) -> None:
        """Write a file at the far side, at once: nobody ever sees half of it. Its folder is made.
        Raises DriverError TRANSIENT also when the disk there refuses."""
        partial = f"{path}.{os.getpid()}.{id(data):x}.part"
        try:
            async with self._sftp() as sftp:
                await sftp.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120
                async with sftp.open(partial, "wb", asyncssh.SFTPAttrs(permissions=mode)) as out:
                    await out.write(data)
                await sftp.posix_rename(partial, path)
        except (OSError, asyncssh.Error) as error:
            raise DriverError(
                ErrorClass.TRANSIENT, f"{path} cannot be written at {self._there}: {error}"
            ) from error

    async def get(self, path: str, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a file at the far side from an offset on. A lost connection is made again
        and the file gone on with; DriverError TRANSIENT when that does not help, PERMANENT for a
        missing file."""
        tries = 0
        while True:
            try:
                async with self._sftp() as sftp, sftp.open(path, "rb") as source:
                    while data := await source.read(CHUNK, offset):
                        tries = 0
                        offset += len(data)
                        yield _bytes(data)
                return
            except asyncssh.SFTPNoSuchFile as error:
                raise DriverError(
                    ErrorClass.PERMANENT, f"there is no file {path} at {self._there}"
                ) from error
            except (DriverError, OSError, asyncssh.Error) as error:
                tries += 1
                if tries >= GET_TRIES or _hopeless(error):
                    raise DriverError(
                        ErrorClass.TRANSIENT, f"{path} cannot be read at {self._there}: {error}"
                    ) from error
                await asyncio.sleep(self._settings.backoff_s * 2**tries)


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else str(data).encode()


def _hopeless(error: BaseException) -> bool:
    return isinstance(error, DriverError) and error.error_class is ErrorClass.PERMANENT


def _let_go(link: _Link, end: Callable[[T], Any], done: "asyncio.Future[T]") -> None:
    """End a channel that was opened for a call that is gone."""
    link.channels.give_back()
    if not done.cancelled() and done.exception() is None:
        end(done.result())


class Connections:
    """The connections by facility, so that drivers and agents of one facility share one."""

    def __init__(self) -> None:
        self._made: weakref.WeakValueDictionary[tuple[str, str], Connection] = (
            weakref.WeakValueDictionary()
        )

    def of(self, facility: str, settings: SshSettings) -> Connection:
        """The facility's connection, not yet established; it lives as long as somebody holds it."""
        fields = ("host", "port", "user", "key", "known_hosts")
        name = (facility, repr([getattr(settings, field) for field in fields]))
        connection = self._made.get(name)
        if connection is None:
            connection = self._made[name] = Connection(facility, settings)
        return connection
