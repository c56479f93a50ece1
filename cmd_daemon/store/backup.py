"""Backup and restore of an SQLite database. For PostgreSQL its own programs do both, online too."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from cmd_daemon.store.errors import BadUrl, NotADatabase
from cmd_daemon.store.location import settle, take_lock
from cmd_daemon.store.sqlite import path_of, schema_version, translate
from cmd_daemon.store.store import SQLITE

LOCK_S = 30.0


def backup(url: str, target: Path) -> int:
    """Copy the database of `url`, as it is at one moment, into the new file `target`; its bytes. The
    daemon may go on writing meanwhile.

    Raises BadUrl (another kind of database, a target that is there), or another StoreError; there is no
    target then.
    """
    source = _file(url, "pg_dump --format=custom")
    if not source.exists():
        raise BadUrl(f"there is no database {source}")
    if target.exists():
        raise BadUrl(f"{target} is there already; a backup never writes over anything")
    _copy(source, target)
    return target.stat().st_size


def restore(url: str, backup: Path) -> Path | None:
    """Put a backup in the place of the database of `url`; where the former one is kept, None if there was
    none. No daemon may run on it.

    Raises AlreadyInUse, BadUrl, NotADatabase, SchemaTooNew or another StoreError; nothing has changed
    then.
    """
    place = _file(url, "pg_restore --clean --if-exists")
    if not backup.exists():
        raise BadUrl(f"there is no backup {backup}")
    lock = take_lock(place)
    try:
        fresh = place.with_name(f"{place.name}.restored")
        fresh.unlink(missing_ok=True)
        _copy(backup, fresh)
        kept = None
        if place.exists():
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            kept = place.with_name(f"{place.name}.before-{stamp}")
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{place}{ending}").rename(f"{kept}{ending}")
        fresh.rename(place)
        settle(place.parent)
    finally:
        os.close(lock)
    return kept


def _file(url: str, program: str) -> Path:
    if not url.startswith(f"{SQLITE}:"):
        raise BadUrl(
            f"this is for SQLite; a PostgreSQL database is saved and restored by its own programs: "
            f"{program}, see docs/operations.md"
        )
    return path_of(make_url(url))


def _copy(source: Path, target: Path) -> None:
    """Copy a database, look the copy over, and put it in place whole and durable."""
    half = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        os.close(os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _opened(source) as reader, _opened(half) as writer:
            if not schema_version(reader, source):
                raise BadUrl(f"{source} holds nothing of the daemon")
            reader.backup(writer)  # all pages in one go: one moment, and the daemon writes on
            writer.execute("PRAGMA journal_mode = DELETE")
            word = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
            if word != "ok":
                raise NotADatabase(f"{source} is damaged: {word}")
        settle(half)
        half.rename(target)
        settle(target.parent)
    except sqlite3.Error as error:
        raise translate(error, source) from error
    except OSError as error:
        raise BadUrl(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        half.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=LOCK_S, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
