"""The migrated schema is the one the code thinks it has; rows and classes fit together."""

import asyncio
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from services.databases import Server
from sqlalchemy import Connection, Inspector, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.store import Store, codec, tables
from cmd_daemon.store.migrations import configuration, upgrade
from cmd_daemon.testing.store_contract import POLICY


def described(url: str) -> dict[str, Any]:
    """Everything the database says of its tables, in an order that does not matter."""
    engine = create_engine(url)
    found = tables_told(inspect(engine))
    with engine.connect() as connection:
        ask = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1"
        found["indexes"] = [tuple(row) for row in connection.execute(text(ask))]
        rows = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'effects'"))
        found["without rowid"] = "WITHOUT ROWID" in rows.scalar_one()
    engine.dispose()
    return found


def tables_told(inspector: Inspector) -> dict[str, Any]:
    """What any database says of its tables."""
    found: dict[str, Any] = {}
    for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        found[table] = {
            "columns": [{**c, "type": str(c["type"])} for c in inspector.get_columns(table)],
            "key": inspector.get_pk_constraint(table),
            "foreign": sorted(map(str, inspector.get_foreign_keys(table))),
            "unique": sorted(map(str, inspector.get_unique_constraints(table))),
            "checks": sorted(
                (c["name"], c["sqltext"]) for c in inspector.get_check_constraints(table)
            ),
        }
    return found


def test_the_migrated_schema_is_the_metadata(tmp_path: Path):
    migrated, direct = (f"sqlite:///{tmp_path}/{name}.db" for name in ("migrated", "direct"))
    upgrade(migrated)
    engine = create_engine(direct)
    tables.metadata.create_all(engine)
    engine.dispose()
    assert described(migrated) == described(direct)
    engine = create_engine(migrated)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        row = connection.execute(tables.meta.select()).one()
    engine.dispose()
    assert (row.schema_version, row.oldest_code) == (tables.SCHEMA_VERSION, tables.OLDEST_CODE)


async def test_the_migrated_schema_is_the_metadata_on_postgresql_too(
    postgres_server: Server,
) -> None:
    urls = [await asyncio.to_thread(postgres_server.empty) for _ in range(2)]
    await (await Store.open(urls[0], clock=lambda: 0)).close()
    found = []
    for url in urls:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            if url == urls[1]:
                await connection.run_sync(tables.metadata.create_all)
            else:
                assert await connection.run_sync(_differences) == []
                row = (await connection.execute(tables.meta.select())).one()
                assert row.schema_version == tables.SCHEMA_VERSION
            found.append(await connection.run_sync(_all_told))
        await engine.dispose()
    assert found[0] == found[1]


def _differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))


def _all_told(connection: Connection) -> dict[str, Any]:
    ask = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    indexes = [row for row in connection.execute(text(ask)) if row[0] != "alembic_version_pkc"]
    return {**tables_told(inspect(connection)), "indexes": indexes}


def test_one_chain_one_head(tmp_path: Path):
    scripts = ScriptDirectory.from_config(configuration())
    assert scripts.get_heads() == [f"{tables.SCHEMA_VERSION:04d}"]
    upgrade(f"sqlite:///{tmp_path}/x.db")
    upgrade(f"sqlite:///{tmp_path}/x.db")  # nothing to do the second time


@pytest.mark.parametrize(
    ("names", "table", "more"),
    [
        (codec.CAMPAIGN, tables.campaigns, set()),
        (codec.STEP, tables.steps, set()),
        (codec.GROUP, tables.groups, set()),
        (codec.JOB, tables.jobs, set()),
        (codec.RECORD, tables.events, set()),
        (codec.EFFECT, tables.effects, set()),
        (codec.ATTEMPT, tables.attempts, set()),
        (codec.PLACEMENT, tables.placements, {"id"}),
        (codec.FILE, tables.campaign_files, set()),
        (codec.FACILITY, tables.facilities, set()),
        (codec.REQUEST, tables.requests, set()),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_each_field_has_its_column(names: tuple[str, ...], table: Any, more: set[str]):
    assert {c.name for c in table.c} == {*names, *more}


def test_the_policy_comes_back():
    assert codec.policy_of(codec.policy_text(POLICY)) == POLICY
    assert codec.policy_of("{}") == StepPolicy() == codec.policy_of(codec.policy_text(StepPolicy()))


def test_no_field_of_the_policy_is_forgotten():
    """The policy of these tests differs from the default everywhere, so that a field the codec
    leaves out is seen."""

    def differs(value: Any, default: Any) -> None:
        for field in fields(value):
            mine, plain = getattr(value, field.name), getattr(default, field.name)
            if (
                field.name != "at"
            ):  # a pinned step and one with several facilities exclude each other
                assert mine != plain, field.name

    differs(POLICY, StepPolicy())
    for part in ("split", "placement", "resources", "retry"):
        differs(getattr(POLICY, part), getattr(StepPolicy(), part))
