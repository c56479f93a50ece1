"""A database looked at beside the daemon that works on it: nothing is locked, nothing can be written."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.errors import BadUrl, SchemaTooOld
from cmd_daemon.store.sqlite import open_readers, path_of, schema_version, translate
from cmd_daemon.store.store import SQLITE, postgres_of
from cmd_daemon.store.tables import SCHEMA_VERSION


@contextlib.asynccontextmanager
async def looked_at(url: str, password_file: Path | None = None) -> AsyncIterator[ReaderConnection]:
    """Readers of the database of `url`, whoever works on it. Raises BadUrl, SchemaTooNew, SchemaTooOld or
    another StoreError."""
    scheme = url.partition(":")[0]
    if scheme != SQLITE:
        async with postgres_of(scheme).looked_at(url, password_file) as reading:
            yield reading
        return
    path = path_of(make_url(url))
    if not path.exists():
        raise BadUrl(f"there is no database {path}")
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            version = schema_version(connection, path)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    if version < SCHEMA_VERSION:
        raise SchemaTooOld(
            f"the database {path} has schema {version}, this version reads {SCHEMA_VERSION}: let its "
            "daemon migrate it first"
        )
    readers = open_readers(path)
    try:
        yield readers.connect
    finally:
        await readers.dispose()


@contextlib.asynccontextmanager
async def one_moment(reading: ReaderConnection) -> AsyncIterator[AsyncConnection]:
    """A connection that shows one moment of all tables until the block ends. The writer never waits."""
    async with reading() as connection:
        if connection.dialect.name == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            return
        await connection.exec_driver_sql("BEGIN")
        try:
            yield connection
        finally:
            await connection.exec_driver_sql("ROLLBACK")
