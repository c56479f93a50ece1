"""Campaigns removed from the database, in chunks, each a short transaction between those of the engine."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from cmd_daemon.kernel.entities import Campaign
from cmd_daemon.kernel.states import CampaignState
from cmd_daemon.store import codec, tables
from cmd_daemon.store.dialect import Dialect, ReaderConnection
from cmd_daemon.store.reading import columns

EVENTS = 2000
GROUPS = 200
"""Rows of the history, and groups with all that is below them, that one transaction removes."""

COMMITS = 200

STAYS = "CampaignRemoved"
"""The cause of the one record that stays."""


def _goes() -> ColumnElement[bool]:
    return tables.events.c.cause != STAYS


class Removing:
    """The part of the store that forgets."""

    _reading: ReaderConnection
    _dialect: Dialect

    async def archived_before(self, at: int) -> list[Campaign]:
        """Campaigns that are ARCHIVED and ended before a moment (microseconds UTC), the oldest first;
        without those that were removed."""
        of = tables.campaigns
        there = select(tables.steps.c.id).where(tables.steps.c.campaign_id == of.c.id).exists()
        query = (
            select(*columns(of, codec.CAMPAIGN))
            .where(of.c.state == str(CampaignState.ARCHIVED), of.c.finished_at < at, there)
            .order_by(of.c.finished_at, of.c.id)
        )
        async with self._reading() as connection:
            return [codec.campaign_of(row) for row in await connection.execute(query)]

    async def remove_some(self, campaign_id: int) -> bool:
        """Remove one chunk of an archived campaign, its steps last; whether anything is left. The campaign
        and its files stay, and the record that tells of this.

        Raises StoreUnavailable: nothing of the chunk was removed; or another StoreError.
        """
        events, groups = tables.events, tables.groups
        seqs = await self._some(
            select(events.c.seq).where(events.c.campaign_id == campaign_id, _goes()),
            events.c.seq,
            EVENTS,
        )
        if seqs:
            await self._dialect.remove(
                [
                    f"DELETE FROM events WHERE campaign_id = {campaign_id} AND seq <= {seqs[-1]} "
                    f"AND cause <> '{STAYS}'"
                ]
            )
            return True
        ids = await self._some(
            select(groups.c.id).where(groups.c.campaign_id == campaign_id), groups.c.id, GROUPS
        )
        if ids:
            mine = f"({', '.join(map(str, ids))})"
            of_jobs = f"job_id IN (SELECT id FROM jobs WHERE group_id IN {mine})"
            await self._dialect.remove(
                [
                    f"DELETE FROM attempts WHERE {of_jobs}",
                    f"DELETE FROM placements WHERE group_id IN {mine}",
                    f"DELETE FROM jobs WHERE group_id IN {mine}",
                    f"DELETE FROM groups WHERE id IN {mine}",
                ]
            )
            return True
        await self._dialect.remove([f"DELETE FROM steps WHERE campaign_id = {campaign_id}"])
        return False

    async def forget_decided(self) -> bool:
        """Remove some of the events, as they were decided, that are older than every campaign; whether
        there were any."""
        decided, events = tables.decided, tables.events
        first = select(func.min(events.c.seq)).where(events.c.campaign_id.is_not(None), _goes())
        newest = select(func.max(events.c.seq))
        # Those of the last commits may belong to a campaign that has no record yet.
        query = select(decided.c.id).where(
            decided.c.last_seq
            < func.coalesce(first.scalar_subquery(), newest.scalar_subquery()) - 1
        )
        ids = await self._some(query, decided.c.id, COMMITS)
        if ids:
            await self._dialect.remove(
                [f"DELETE FROM decided WHERE id IN ({', '.join(map(str, ids))})"]
            )
        return bool(ids)

    async def prune_requests(self, before: int) -> int:
        """Forget the answers to requests given before `before` (microseconds UTC); how many."""
        return await self._dialect.remove([f"DELETE FROM requests WHERE at < {before:d}"])

    async def _some(self, query: Select[Any], key: Any, limit: int) -> Sequence[int]:
        async with self._reading() as connection:
            return list((await connection.execute(query.order_by(key).limit(limit))).scalars())
