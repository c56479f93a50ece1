"""From every schema that was ever released, with data in every table, to the one of this code."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from services.databases import Server
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from cmd_daemon.kernel.records import (
    CampaignFile,
    FacilityState,
    PlacementRow,
    RequestRow,
    Schedule,
    ScheduleRun,
)
from cmd_daemon.kernel.states import CampaignState, JobState, RunOutcome, ScheduleState
from cmd_daemon.store import Store, codec, tables
from cmd_daemon.store.migrations import upgrade, upgrade_within
from cmd_daemon.store.writing import Change, plan
from cmd_daemon.testing import store_contract as rows

RELEASED = ("0001", "0002", "0003", "0004", "0005")
"""The schemas of versions that somebody may still run."""


def data() -> list[Change]:
    """Rows for every table, as a daemon of this code would write them; what came later than a schema is
    left out there."""
    batch = rows.made(
        rows.campaign(state=CampaignState.RUNNING, in_flight=1),
        rows.step(),
        rows.group(0),
        rows.job(0, state=JobState.RUNNING, ref="x", cancelling=True, reason="why"),
    )
    batch.attempts.append(rows.attempt(0))
    batch.placements.append(PlacementRow(rows.group(0).id, rows.NOW, "USDF", "a", "me", "why"))
    batch.files.append(CampaignFile(rows.BASE, 1, rows.NOW, "me", "t", "{}", "d"))
    key = "c0/s1/g0/process#1:submit"
    batch.effects[key] = rows.effect(key)
    batch.requests.append(RequestRow("r", "M", "d", b"\0\1", rows.NOW))
    batch.records.append(rows.record(7))
    batch.facilities["USDF"] = FacilityState("USDF", True, "water", "me", rows.NOW)
    batch.schedules["nightly"] = Schedule(
        "nightly", 1, "me", "0 3 * * *", "UTC", "skip", "t", "t", "f",
        ScheduleState.ACTIVE, "", "me", rows.NOW, rows.NOW + 1,
    )  # fmt: skip
    batch.schedule_runs.append(
        ScheduleRun("nightly", rows.NOW, rows.NOW, RunOutcome.LAUNCHED, "me", "", '["c0"]')
    )
    return plan(batch)


def fill(connection: Connection) -> None:
    """Write the data into the tables and columns that there are."""
    there = inspect(connection)
    known = set(there.get_table_names())
    for change in data():
        if change.table not in known:
            continue
        names = {c["name"] for c in there.get_columns(change.table)} & set(change.columns)
        shown = ", ".join(f'"{n}"' for n in sorted(names))
        marks = ", ".join(f":{n}" for n in sorted(names))
        for row in change.rows:
            values = dict(zip(change.columns, row, strict=True))
            connection.execute(
                text(f"INSERT INTO {change.table} ({shown}) VALUES ({marks})"),
                {n: int(v) if isinstance(v := values[n], bool) else v for n in names},
            )


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it; its URL."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/old.db"
    server: Server = request.getfixturevalue("postgres_server")
    return await asyncio.to_thread(server.empty)


async def at_revision(url: str, revision: str) -> None:
    """Make the schema of a released version, with data."""
    engine = create_async_engine(url)
    if url.startswith("sqlite"):
        await asyncio.to_thread(upgrade, url.replace("+aiosqlite", ""), revision)
    async with engine.begin() as connection:
        if not url.startswith("sqlite"):
            await connection.run_sync(upgrade_within, revision)
        await connection.run_sync(fill)
    await engine.dispose()


@pytest.mark.parametrize("revision", RELEASED)
async def test_what_a_former_version_wrote_is_there_after_the_upgrade(
    empty: str, revision: str
) -> None:
    await at_revision(empty, revision)
    store = await Store.open(empty, clock=lambda: rows.NOW)
    try:
        loaded = await store.load_open()
        found: tuple[Any, ...] = (loaded.campaigns, loaded.steps, loaded.groups, loaded.jobs)
        assert [e for each in found for e in each.values()] == [
            rows.campaign(state=CampaignState.RUNNING, in_flight=1),
            rows.step(),
            rows.group(0),
            rows.job(0, state=JobState.RUNNING, ref="x", cancelling=True, reason="why"),
        ]
        assert list(loaded.effects) == ["c0/s1/g0/process#1:submit"]
        assert loaded.facilities["USDF"].drained
        assert (loaded.last_seq, loaded.schedules.keys()) == (
            7,
            {"nightly"} if revision >= "0003" else set(),
        )
        assert await store.attempts_of([rows.job(0).id]) == [rows.attempt(0)]
        request = await store.find_request("r")
        assert request is not None
        assert request.answer == b"\0\1"
        async with store.reading() as connection:
            row = (await connection.execute(tables.meta.select())).one()
        assert (row.schema_version, row.oldest_code) == (tables.SCHEMA_VERSION, tables.OLDEST_CODE)
        # And it takes what this code writes.
        again = rows.changed(
            rows.job(0, state=JobState.RUNNING, ref="x", cancelling=True), reason="y"
        )
        await store.commit(rows.moved(again))
    finally:
        await store.close()


async def test_every_released_schema_is_tried() -> None:
    scripts = sorted(
        p.name[:4] for p in Path(codec.__file__).parent.glob("migrations/versions/0*.py")
    )
    head = f"{tables.SCHEMA_VERSION:04d}"
    assert [*RELEASED, head] == [*(n for n in scripts if n != head), head]


async def test_a_migration_that_is_cut_off_leaves_the_former_schema(tmp_path: Path) -> None:
    """As when the daemon is killed in it: the whole chain is one transaction."""
    url = f"sqlite:///{tmp_path}/old.db"
    upgrade(url, "0001")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE decided (x)")  # in the way of the last one
    connection.close()
    with pytest.raises(Exception, match="decided"):
        upgrade(url)
    with sqlite3.connect(tmp_path / "old.db") as connection:
        assert connection.execute("SELECT schema_version FROM meta").fetchone() == (1,)
        there = {n for (n,) in connection.execute("SELECT name FROM sqlite_master")}
        assert "schedules" not in there
    connection.close()
