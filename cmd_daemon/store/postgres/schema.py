"""The schema of a PostgreSQL database: looked at, made, migrated. Whoever migrates holds the lead."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from cmd_daemon.store.errors import SchemaTooNew, SchemaTooOld
from cmd_daemon.store.postgres.address import SCHEME, Address
from cmd_daemon.store.postgres.faults import FAULTS, translate
from cmd_daemon.store.tables import SCHEMA_VERSION

MIGRATION_S = 3600.0
"""Seconds one statement of a migration may take."""


async def schema_version(connection: Any, address: Address) -> int | None:
    """The version of the database's schema if this code can read it, else None: there is none yet, or
    it is older. Raises SchemaTooNew, or another StoreError."""
    version, oldest = await _found(connection, address)
    if oldest > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"the database {address} was made by a later version of the daemon (schema {version}; "
            f"this one knows {SCHEMA_VERSION}). Install that version again; a database never goes back."
        )
    return version if version >= SCHEMA_VERSION else None


async def settle(connection: Any, address: Address, migrate: bool) -> None:
    """Bring the schema up to date, in one transaction. Raises SchemaTooNew, SchemaTooOld, or another
    StoreError."""
    if await schema_version(connection, address) is not None:
        return
    if not migrate:
        version, _ = await _found(connection, address)
        raise SchemaTooOld(
            f"the database {address} has schema {version}, this daemon needs {SCHEMA_VERSION}. Start "
            "it with migrations allowed (make a backup first)."
        )
    # Alembic is slow to import and needed only here.
    from cmd_daemon.store.migrations import upgrade_within

    engine = create_async_engine(
        f"{SCHEME}://",
        async_creator=lambda: address.connect({"statement_timeout": "0"}, MIGRATION_S),
    )
    try:
        async with engine.begin() as migrating:
            await migrating.run_sync(_upgraded(upgrade_within))
    except FAULTS as error:
        raise translate(error, str(address)) from error
    finally:
        await engine.dispose()


def _upgraded(upgrade: Any) -> Any:
    def run(connection: Connection) -> None:
        upgrade(connection, "head")

    return run


async def _found(connection: Any, address: Address) -> tuple[int, int]:
    """Version of the schema and of the oldest code that may work on it; zeros if there is none."""
    try:
        if await connection.fetchval("SELECT to_regclass('meta')") is None:
            return 0, 0
        version, oldest = await connection.fetchrow("SELECT schema_version, oldest_code FROM meta")
    except FAULTS as error:
        raise translate(error, str(address)) from error
    return version, oldest
