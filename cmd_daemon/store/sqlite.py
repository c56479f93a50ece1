"""SQLite: one writer connection in a thread of its own, a small pool of readers that cannot write.

WAL and `synchronous=FULL`: a committed intent survives the loss of power, and group commit makes that
cheap. Each transaction is one visit to the writer's thread, not one for each statement.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store.dialect import CommitPoint, Health, to_its_end
from cmd_daemon.store.errors import (
    BadUrl,
    LostRow,
    NotADatabase,
    RowRefused,
    SchemaTooNew,
    SchemaTooOld,
    SQLiteTooOld,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreFailing,
    StoreFenced,
    StoreFull,
    VersionConflict,
)
from cmd_daemon.store.location import refuse_network, take_lock
from cmd_daemon.store.tables import SCHEMA_VERSION
from cmd_daemon.store.writing import Change, Lost, Verb, plan

OLDEST_SQLITE = (3, 35, 0)
"""RETURNING came with 3.35 (sqlite.org/lang_returning.html)."""

BUSY_TIMEOUT_S = 5.0
READERS = 4
LOW_DISK_BYTES = 64 * 1024**2

T = TypeVar("T")

_FULL = frozenset({sqlite3.SQLITE_FULL})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_FAILING = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The store's error for one of SQLite's (codes: sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _FULL:
        return StoreFull(
            f"the disk of the database {path} is full ({error}); nothing was written. Free some "
            "room; the daemon goes on by itself."
        )
    if code in _BUSY:
        return StoreBusy(
            f"another connection holds the database {path} locked ({error}); nothing was written. "
            "End the program that has it open (a backup, an sqlite3 shell)."
        )
    if code in _FAILING:
        return StoreFailing(
            f"the disk of the database {path} fails ({error}); nothing was written. Look at the "
            "file's rights, the mount and the system log."
        )
    if code in _DAMAGED:
        return NotADatabase(
            f"{path} is not a database or is damaged ({error}). Restore it from a backup."
        )
    return RowRefused(str(error))


def path_of(url: URL) -> Path:
    """The file a `sqlite+aiosqlite:///path` URL names. Raises `BadUrl` for a database in memory."""
    name = url.database
    if not name or name == ":memory:" or name.startswith("file:") or url.query:
        raise BadUrl(
            f"the database URL {url.render_as_string()!r} names no plain file: write "
            "sqlite+aiosqlite:///relative/path or sqlite+aiosqlite:////absolute/path, no options"
        )
    return Path(name).absolute()


def check_version(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> None:
    """Raise `SQLiteTooOld` unless the SQLite library can do what the store needs."""
    if version < OLDEST_SQLITE:
        have, need = (".".join(map(str, v)) for v in (version, OLDEST_SQLITE))
        raise SQLiteTooOld(
            f"this Python comes with SQLite {have}; the store needs {need} or later. Use a newer "
            "Python or operating system."
        )


class SQLite:
    """An open SQLite database; see `dialect.Dialect`. Whoever has it open leads: there is no stand-by."""

    leader = ""
    behind = False

    def __init__(
        self,
        path: Path,
        lock: int,
        writer: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        readers: AsyncEngine,
        epoch: int,
    ) -> None:
        self.path = path
        self.readers = readers
        self.on_commit_point: CommitPoint | None = None
        self._lock = lock
        self._writer = writer
        self._thread = thread
        self._epoch = epoch
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, migrate: bool) -> "SQLite":
        """Open the database, making or migrating it if allowed. Errors: see `Store.open`."""
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise BadUrl(f"the database URL {url!r} cannot be read: {error}") from error
        path = path_of(parsed)
        check_version()
        refuse_network(path)
        lock = take_lock(path)
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        try:
            loop = asyncio.get_running_loop()
            writer, epoch = await loop.run_in_executor(thread, _open_writer, path, migrate)
        except BaseException:
            thread.shutdown(wait=True)
            os.close(lock)
            raise
        return cls(path, lock, writer, thread, open_readers(path), epoch)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A reader's connection."""
        async with self.readers.connect() as connection:
            yield connection

    async def write(self, batch: Batch) -> None:
        """Write the batch in one transaction, or nothing; see `Store.commit`."""
        await self._in_thread(lambda: self._write(batch))

    async def remove(self, statements: Sequence[str]) -> int:
        """Delete rows in one transaction; how many."""

        def work() -> int:
            with self._transaction() as writer:
                return sum(writer.execute(statement).rowcount for statement in statements)

        return await self._in_thread(work)

    async def lead(self) -> None:
        """Nothing to do: the lock beside the file was taken when it was opened."""

    async def keep_lead(self) -> None:
        """Never returns: nobody can take the lock away."""
        await asyncio.Event().wait()

    async def leading(self) -> None:
        """Returns at once."""

    async def lead_in_doubt(self) -> None:
        """Never returns."""
        await asyncio.Event().wait()

    def overslept(self) -> bool:
        """Never: a lock is kept in one's sleep."""
        return False

    async def check(self, deep: bool = False) -> Health:
        """See `Store.check`."""
        problem = ""
        try:
            async with self.readers.connect() as reader:
                if deep:
                    word = (await reader.exec_driver_sql("PRAGMA quick_check(1)")).scalar_one()
                    problem = "" if word == "ok" else f"{self.path} is damaged: {word}"
                else:
                    await reader.exec_driver_sql("SELECT epoch FROM meta")
        except Exception as error:  # noqa: BLE001 - a health check reports, whatever it is
            problem = f"{self.path} cannot be read: {error}"
        free: int | None = None
        size: int | None = None
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.path.parent).free
            size = self.path.stat().st_size
        if not problem and free is not None and free < LOW_DISK_BYTES:
            problem = f"only {free // 1024**2} MiB are left on the disk of {self.path}"
        return Health(problem, free, size)

    async def close(self) -> None:
        """Wait for the transaction under way, close all connections, give the lock back."""
        if self._closed:
            return
        self._closed = True
        try:
            await self.readers.dispose()
            # Last, so that closing it folds the WAL back into the database file.
            await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
        finally:
            self._thread.shutdown(wait=True)
            os.close(self._lock)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the writer's thread, to its end."""
        if self._closed:
            raise StoreClosed(f"the database {self.path} has been closed")
        return await to_its_end(asyncio.get_running_loop().run_in_executor(self._thread, work))

    # -- below here: in the writer's thread --

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._writer, self.path)

    def _write(self, batch: Batch) -> None:
        try:
            changes = plan(batch)
        except (TypeError, ValueError) as error:
            raise RowRefused(str(error)) from error
        try:
            with self._transaction() as writer:
                epoch = writer.execute("SELECT epoch FROM meta").fetchone()[0]
                if epoch != self._epoch:
                    raise StoreFenced(
                        f"a later daemon has taken over the database {self.path} (epoch {epoch}, "
                        f"ours is {self._epoch}): this one must stop; nothing was written"
                    )
                for change in changes:
                    _make(writer, change)
                self._point("before-commit")
        except Lost as lost:
            raise VersionConflict(self._lost_rows(lost.change)) from None
        self._point("after-commit")

    def _point(self, name: str) -> None:
        if self.on_commit_point is not None:
            self.on_commit_point(name)

    def _lost_rows(self, change: Change) -> list[LostRow]:
        """The rows of an update that are not in the expected version, asked after the rollback."""
        lost = []
        ask = f"SELECT version, name FROM {change.table} WHERE id = ?"
        for row in change.rows:
            ident, expected = row[-2], row[-1]
            found = self._writer.execute(ask, (ident,)).fetchone()
            version, name = found if found is not None else (None, "")
            if version != expected:
                lost.append(LostRow(change.table, ident, name, expected, version))
        return lost


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT on the writer; rolled back on any error, which is translated."""

    def __init__(self, writer: sqlite3.Connection, path: Path) -> None:
        self._writer = writer
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return self._writer

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._writer.execute("COMMIT")
                return
        except sqlite3.Error as failure:
            self._roll_back()
            raise translate(failure, self._path) from failure
        self._roll_back()
        if isinstance(error, sqlite3.Error):
            raise translate(error, self._path) from error

    def _roll_back(self) -> None:
        # A full disk may have rolled the transaction back already.
        if self._writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")


# Why executemany and not one statement over `json_each` (raw sqlite3, 2,000 rows a transaction, FULL,
# µs per row, events / job updates): executemany 3.6 / 5.6-9.7; multi-row VALUES 3.9-6.8 / 6.5-8.6;
# json_each 10.5 / 10.5-15.6 (it parses each row's array again). Beside a busy loop: 14/30, 17/21, 30/30.
def _make(writer: sqlite3.Connection, change: Change) -> None:
    """Make one change. Raises `Lost`, `RowRefused`, or sqlite3's own errors."""
    rows = iter(change.rows)
    before = writer.total_changes
    try:
        writer.executemany(_statement(change.verb, change.table, change.columns, change.key), rows)
    except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError) as error:
        raise RowRefused(str(error), change.table, _last(change, rows)) from error
    except (OverflowError, UnicodeError, sqlite3.ProgrammingError) as error:
        raise RowRefused(
            f"a value cannot be stored ({error})", change.table, _last(change, rows)
        ) from error
    done = writer.total_changes - before
    if change.verb is Verb.UPDATE and done != len(change.rows):
        raise Lost(change)


def _last(change: Change, rows: Any) -> str:
    """The row that executemany took last, shortened, for people."""
    place = len(change.rows) - rows.__length_hint__() - 1
    return ascii(change.rows[place])[:400]


_statements: dict[tuple[Verb, str], str] = {}


def _statement(verb: Verb, table: str, columns: tuple[str, ...], key: str) -> str:
    """The SQL of a change; one text each, so that sqlite3 finds it prepared."""
    known = _statements.get((verb, table))
    if known is not None:
        return known
    quoted = [f'"{c}"' for c in columns]
    marks = ", ".join("?" * len(columns))
    match verb:
        case Verb.UPDATE:
            sets = ", ".join(f"{c} = ?" for c in quoted)
            sql = f"UPDATE {table} SET {sets} WHERE id = ? AND version = ?"
        case Verb.DELETE:
            sql = f'DELETE FROM {table} WHERE "{key}" = ?'
        case Verb.INSERT | Verb.UPSERT:
            sql = f"INSERT INTO {table} ({', '.join(quoted)}) VALUES ({marks})"
            if verb is Verb.UPSERT:
                sets = ", ".join(f"{c} = excluded.{c}" for c in quoted if c != f'"{key}"')
                sql += f' ON CONFLICT ("{key}") DO UPDATE SET {sets}'
    return _statements.setdefault((verb, table), sql)


def _open_writer(path: Path, migrate: bool) -> tuple[sqlite3.Connection, int]:
    """The writer connection and this daemon's fencing epoch, on a schema that is up to date."""
    writer: sqlite3.Connection | None = None
    try:
        # The writer lives in its own thread but is closed and looked after by its owner.
        writer = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise BadUrl(f"the database {path} cannot work in WAL mode (it answers {mode!r})")
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("PRAGMA foreign_keys = ON")
        writer.execute("PRAGMA cache_size = -16384")  # KiB
        writer.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: 16 MiB
        writer.execute("PRAGMA journal_size_limit = 67108864")
        _settle_schema(writer, path, migrate)
        with _Transaction(writer, path):
            epoch = writer.execute("UPDATE meta SET epoch = epoch + 1 RETURNING epoch").fetchone()[
                0
            ]
    except BaseException as error:
        if writer is not None:
            writer.close()
        if isinstance(error, sqlite3.Error):
            raise translate(error, path) from error
        raise
    return writer, epoch


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the database's schema; 0 if there is nothing in it. Raises SchemaTooNew, and BadUrl
    for a database of something else."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    version = 0
    if "meta" in tables:
        ask = "SELECT schema_version, oldest_code FROM meta"
        version, oldest = connection.execute(ask).fetchone()
        if oldest > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"the database {path} was made by a later version of the daemon (schema {version}; "
                f"this one knows {SCHEMA_VERSION}). Install that version again; a database never "
                "goes back."
            )
    elif tables:
        raise BadUrl(
            f"the file {path} is a database of something else (it holds {min(tables)!r}). Give the "
            "daemon a file of its own."
        )
    return int(version)


def _settle_schema(writer: sqlite3.Connection, path: Path, migrate: bool) -> None:
    version = schema_version(writer, path)
    if version >= SCHEMA_VERSION:
        return
    if not migrate:
        raise SchemaTooOld(
            f"the database {path} has schema {version}, this daemon needs {SCHEMA_VERSION}. Start "
            "it with migrations allowed (make a backup first)."
        )
    # Alembic is slow to import and needed only here.
    from cmd_daemon.store.migrations import upgrade

    upgrade(f"sqlite:///{path}")


def open_readers(path: Path) -> AsyncEngine:
    """Connections to a database file that cannot write."""
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",
        pool_size=READERS,
        max_overflow=0,
        pool_reset_on_return=None,  # nothing to roll back: readers have no transactions
        connect_args={"timeout": BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.execute("PRAGMA cache_size = -8192")
        cursor.close()

    return engine
