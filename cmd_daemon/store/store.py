"""The durable state of the daemon behind one object."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store.audit import AuditReading
from cmd_daemon.store.costs import CostsReading
from cmd_daemon.store.dialect import CommitPoint, Dialect, Health
from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.loading import Loading
from cmd_daemon.store.nexus import NexusReading
from cmd_daemon.store.places import Places
from cmd_daemon.store.reading import Reading
from cmd_daemon.store.removing import Removing
from cmd_daemon.store.schedules import ScheduleReading
from cmd_daemon.store.sqlite import SQLite, path_of
from cmd_daemon.store.statistics import StatisticsReading

SQLITE = "sqlite+aiosqlite"
POSTGRESQL = "postgresql+asyncpg"


def described(url: str, password_file: Path | None = None) -> str:
    """What `Store.open` would open, in words and without any secret. Raises BadUrl."""
    scheme = url.partition(":")[0]
    if scheme == SQLITE:
        return f"SQLite, {path_of(make_url(url))}"
    address = postgres_of(scheme).address_of(url, password_file)
    return f"PostgreSQL, {address}, as {address.user or 'PGUSER'}; password {address.secret}"


def postgres_of(scheme: str) -> ModuleType:
    """The room for PostgreSQL. Raises BadUrl for URLs of another scheme, or if a package is missing."""
    if scheme != POSTGRESQL:
        raise BadUrl(
            f"this daemon has no store for {scheme!r} URLs; write {SQLITE}:///path or "
            f"{POSTGRESQL}://user@host/database"
        )
    try:
        from cmd_daemon.store import postgres
    except ModuleNotFoundError as error:
        raise BadUrl(
            f"PostgreSQL needs the package {error.name}: pip install 'cmd-daemon[postgres]'"
        ) from error
    return postgres


class Store(
    Reading,
    NexusReading,
    StatisticsReading,
    CostsReading,
    ScheduleReading,
    AuditReading,
    Loading,
    Places,
    Removing,
):
    """One database, one writer. Reading methods: see `Reading`, `NexusReading`, `StatisticsReading`,
    `CostsReading`, `ScheduleReading` and `AuditReading`; start-up: see `Loading`."""

    def __init__(self, dialect: Dialect, clock: Callable[[], int]) -> None:
        self._dialect = dialect
        self._readers = dialect.readers
        self._reading = dialect.reading
        self._clock = clock

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Callable[[], int],
        migrate: bool = True,
        password_file: Path | None = None,
        standby: bool = False,
    ) -> "Store":
        """Open the database of `url` (`sqlite+aiosqlite:///path`, `postgresql+asyncpg://user@host/name`),
        making its schema if there is none and `migrate` allows. `clock` tells the time in
        microseconds UTC. `password_file` holds the password for PostgreSQL.

        Raises a `StoreError`: `BadUrl`, `NetworkFileSystem`, `SQLiteTooOld`, `SchemaTooNew`,
        `SchemaTooOld`, `AlreadyInUse`, `NotADatabase`, `NotAllowed`, `ServerUnfit`, or a
        `StoreUnavailable`. With `standby`, a PostgreSQL database that another daemon leads is no
        error: `leader` names that daemon then, and the store can only be read until `lead` returns.
        """
        scheme = url.partition(":")[0]
        if scheme == SQLITE:
            return cls(await SQLite.open(url, migrate=migrate), clock)
        dialect = await postgres_of(scheme).PostgreSQL.open(
            url, migrate=migrate, password_file=password_file, standby=standby
        )
        return cls(dialect, clock)

    @property
    def leader(self) -> str:
        """The daemon that leads while this one stands by, in words; empty if this one leads."""
        return self._dialect.leader

    @property
    def behind(self) -> bool:
        """True while nothing can be read: the schema waits for this daemon to lead and migrate it."""
        return self._dialect.behind

    async def lead(self) -> None:
        """Wait until this daemon leads: until the leader has ended, or shows no sign of life.

        Raises a `StoreError` if that cannot be: the schema has become too new, for example.
        """
        await self._dialect.lead()

    async def keep_lead(self) -> None:
        """Show that this daemon lives, for ever. Raises `StoreFenced` once another daemon leads."""
        await self._dialect.keep_lead()

    async def leading(self) -> None:
        """Return when no other daemon can have taken over: at once, unless nothing was heard of the
        database for some seconds. Never returns once another daemon leads. To be awaited right before
        whatever must not be done by two daemons."""
        await self._dialect.leading()

    async def lead_in_doubt(self) -> None:
        """Return once nothing was heard of the database for so long that another daemon may lead soon:
        whatever must not be done by two daemons is broken off then."""
        await self._dialect.lead_in_doubt()

    def overslept(self) -> bool:
        """True if nothing was heard of the database for so long that another daemon may lead. For a
        process that has just been woken."""
        return self._dialect.overslept()

    @property
    def on_commit_point(self) -> CommitPoint | None:
        """A hook for crash tests, called where the store writes with "before-commit" (everything is
        written, nothing committed) and "after-commit". None in production. If it raises before the
        commit, nothing is written."""
        return self._dialect.on_commit_point

    @on_commit_point.setter
    def on_commit_point(self, hook: CommitPoint | None) -> None:
        self._dialect.on_commit_point = hook

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection that cannot write."""
        return self._reading()

    async def commit(self, batch: Batch) -> None:
        """Write the whole batch in one durable transaction, or nothing of it.

        Records must have their `seq`. The batch must not be changed until this returns. Commits run
        one after another in the order of the calls. A cancelled call returns only after its
        transaction is over, one way or the other.

        Raises `StoreUnavailable` (`StoreBusy`, `StoreFull`, `StoreFailing`, `StoreUnreachable`):
        nothing was written as far as is known; commit the same batch again later, which does nothing
        if it had been written after all. Raises `VersionConflict`, `RowRefused` or `StoreFenced`:
        nothing was written, and trying again cannot help.
        """
        await self._dialect.write(batch)

    async def check(self, deep: bool = False) -> Health:
        """Whether the database can be read and its disk has room. `deep` looks at every page of an
        SQLite file, which takes seconds for each gigabyte."""
        return await self._dialect.check(deep)

    async def close(self) -> None:
        """Wait for the transaction under way, close everything, let another daemon in. May be
        called twice."""
        await self._dialect.close()
