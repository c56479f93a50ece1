"""What the engine loads at start-up: everything that is not over yet, streamed row by row."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.records import Effect, FacilityState, Record, Schedule
from cmd_daemon.kernel.states import FINAL_GROUP, CampaignState
from cmd_daemon.store import codec, tables
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.reading import columns
from cmd_daemon.store.tables import (
    campaigns,
    effects,
    events,
    facilities,
    groups,
    jobs,
    schedules,
    steps,
)

_CHUNK = 5000
"""Rows fetched at once: few visits to the reader's thread, little held twice."""


@dataclass(slots=True)
class Loaded:
    """The open state by id: campaigns that are not ARCHIVED, all their steps, their groups that are
    not final, and every job of those groups. `highest_id` is the largest id given to anything ever,
    `last_seq` the last event's."""

    campaigns: dict[int, Campaign] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    groups: dict[int, Group] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    effects: dict[str, Effect] = field(default_factory=dict)
    facilities: dict[str, FacilityState] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    last_seq: int = 0
    highest_id: int = 0


def _open() -> ColumnElement[bool]:
    """Groups that are not over, said so that the partial index serves."""
    return and_(
        tables.unfinished(groups),
        groups.c.state.not_in(sorted(state.value for state in FINAL_GROUP)),
    )


def _live() -> ColumnElement[bool]:
    return campaigns.c.state != CampaignState.ARCHIVED.value


class Loading:
    """The start-up half of the store."""

    _reading: ReaderConnection

    async def asked(self) -> Sequence[Record]:
        """See `engine.journal.Journal`. Reads the whole history of those campaigns."""
        live = select(campaigns.c.id).where(_live())
        query = (
            select(*columns(events, codec.RECORD))
            .where(events.c.request_id != "")
            .where(or_(events.c.campaign_id.in_(live), events.c.kind == "facility"))
            .order_by(events.c.seq)
        )
        async with self._reading() as connection:
            rows = (await connection.execute(query)).all()
        return [Record(*row) for row in rows]

    async def load_open(self) -> Loaded:
        """All that is not over. Call before the first commit of this daemon."""
        loaded = Loaded()
        async with self._reading() as connection:
            if connection.dialect.name == "postgresql":
                # Its cursors live in transactions only, and this shows one moment of all tables.
                await connection.execution_options(isolation_level="REPEATABLE READ")
            query = select(*columns(campaigns, codec.CAMPAIGN)).where(_live())
            async for row in stream(connection, query):
                loaded.campaigns[row[0]] = codec.campaign_of(row)
            live = select(campaigns.c.id).where(_live())
            query = select(*columns(steps, codec.STEP)).where(steps.c.campaign_id.in_(live))
            async for row in stream(connection, query.order_by(steps.c.id)):
                loaded.steps[row[0]] = codec.step_of(row)
            await _load_groups(connection, loaded)
            async for row in stream(connection, select(*columns(effects, codec.EFFECT))):
                loaded.effects[row[0]] = codec.effect_of(row)
            async for row in stream(connection, select(*columns(facilities, codec.FACILITY))):
                loaded.facilities[row[0]] = codec.facility_of(row)
            async for row in stream(connection, select(*columns(schedules, codec.SCHEDULE))):
                loaded.schedules[row[0]] = codec.schedule_of(row)
            highest = 0
            for table in (campaigns, steps, groups, jobs):
                found = (await connection.execute(select(func.max(table.c.id)))).scalar()
                highest = max(highest, found or 0)
            loaded.highest_id = highest
            last = (await connection.execute(select(func.max(events.c.seq)))).scalar()
            loaded.last_seq = last or 0
        return loaded


async def _load_groups(connection: AsyncConnection, loaded: Loaded) -> None:
    """Open groups campaign by campaign, each with all its jobs."""
    for campaign_id in loaded.campaigns:
        mine = and_(groups.c.campaign_id == campaign_id, _open())
        query = select(*columns(groups, codec.GROUP)).where(mine)
        async for row in stream(connection, query):
            loaded.groups[row[0]] = codec.group_of(row)
        query = (
            select(*columns(jobs, codec.JOB))
            .select_from(groups)
            .join(jobs, jobs.c.group_id == groups.c.id)
            .where(mine)
        )
        async for row in stream(connection, query):
            loaded.jobs[row[0]] = codec.job_of(row)


async def stream(connection: AsyncConnection, query: Select[Any]) -> AsyncIterator[Sequence[Any]]:
    """The rows of a query, a few thousand in memory at a time."""
    result = await connection.stream(query.execution_options(yield_per=_CHUNK))
    async for rows in result.partitions():
        for row in rows:
            yield row
