"""The durable state of the daemon behind one object."""

from collections.abc import Callable

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store.dialect import CommitPoint, Health
from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.loading import Loading
from cmd_daemon.store.nexus import NexusReading
from cmd_daemon.store.places import Places
from cmd_daemon.store.reading import Reading
from cmd_daemon.store.sqlite import SQLite
from cmd_daemon.store.statistics import StatisticsReading


class Store(Reading, NexusReading, StatisticsReading, Loading, Places):
    """One database, one writer. Reading methods: see `Reading`, `NexusReading` and
    `StatisticsReading`; start-up: see `Loading`."""

    def __init__(self, dialect: SQLite, clock: Callable[[], int]) -> None:
        self._dialect = dialect
        self._readers = dialect.readers
        self._clock = clock

    @classmethod
    async def open(cls, url: str, *, clock: Callable[[], int], migrate: bool = True) -> "Store":
        """Open the database of `url` (`sqlite+aiosqlite:///path`), making it if there is none and
        `migrate` allows. `clock` tells the time in microseconds UTC.

        Raises a `StoreError`: `BadUrl`, `NetworkFileSystem`, `SQLiteTooOld`, `SchemaTooNew`,
        `SchemaTooOld`, `AlreadyInUse`, `NotADatabase`, or a `StoreUnavailable`.
        """
        scheme = url.partition(":")[0]
        if scheme != "sqlite+aiosqlite":
            raise BadUrl(
                f"this daemon has no store for {scheme!r} URLs; write sqlite+aiosqlite:///path"
            )
        return cls(await SQLite.open(url, migrate=migrate), clock)

    @property
    def on_commit_point(self) -> CommitPoint | None:
        """A hook for crash tests, called in the writer's thread with "before-commit" (everything is
        written, nothing committed) and "after-commit". None in production. If it raises before the
        commit, nothing is written."""
        return self._dialect.on_commit_point

    @on_commit_point.setter
    def on_commit_point(self, hook: CommitPoint | None) -> None:
        self._dialect.on_commit_point = hook

    async def commit(self, batch: Batch) -> None:
        """Write the whole batch in one durable transaction, or nothing of it.

        Records must have their `seq`. The batch must not be changed until this returns. Commits run
        one after another in the order of the calls. A cancelled call returns only after its
        transaction is over, one way or the other.

        Raises `StoreUnavailable` (`StoreBusy`, `StoreFull`, `StoreFailing`): nothing was written,
        commit the same batch again later. Raises `VersionConflict`, `RowRefused` or `StoreFenced`:
        nothing was written, and trying again cannot help.
        """
        await self._dialect.write(batch)

    async def prune_requests(self, before: int) -> int:
        """Forget the answers to requests given before `before` (microseconds UTC); how many."""
        return await self._dialect.prune_requests(before)

    async def check(self, deep: bool = False) -> Health:
        """Whether the database can be read and its disk has room. `deep` looks at every page of the
        file, which takes seconds for each gigabyte."""
        return await self._dialect.check(deep)

    async def close(self) -> None:
        """Wait for the transaction under way, close everything, let another daemon in. May be
        called twice."""
        await self._dialect.close()
