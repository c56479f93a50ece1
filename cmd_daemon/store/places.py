"""Where groups have been placed: what the placing of later groups goes by."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, func, select

from cmd_daemon.kernel.records import PlacedBefore
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.tables import groups, placements, steps


class Places:
    """The part of the store that knows the facilities of groups, final ones too."""

    _reading: ReaderConnection

    async def placed_before(self, campaign_id: int, apart: Collection[int] = ()) -> PlacedBefore:
        """Where the campaign's groups were placed so far. Steps `apart` (by id) run where their file
        says, whatever their regions: they do not tell where a region is."""
        newest = (
            select(func.max(placements.c.id))
            .join(groups, groups.c.id == placements.c.group_id)
            .where(groups.c.campaign_id == campaign_id, placements.c.facility.is_not(None))
        )
        of_regions = newest.where(groups.c.region.is_not(None)).group_by(groups.c.region)
        if apart:
            of_regions = of_regions.where(groups.c.step_id.not_in(sorted(apart)))
        of_nowhere = newest.where(groups.c.facility.is_(None)).group_by(groups.c.id)
        mine = (groups.c.campaign_id == campaign_id, groups.c.facility.is_not(None))
        counts = select(groups.c.facility, func.count()).where(*mine).group_by(groups.c.facility)
        begun = (
            select(groups.c.region, groups.c.facility)
            .where(*mine, groups.c.region.is_not(None), groups.c.started_at.is_not(None))
            .distinct()
        )
        async with self._reading() as connection:
            found = [
                (await connection.execute(query)).all()
                for query in (
                    _placed_at(groups.c.region, of_regions),
                    counts,
                    begun,
                    _placed_at(groups.c.id, of_nowhere),
                )
            ]
        regions, counted, started, former = found
        return PlacedBefore(
            regions=dict(regions),
            counts=dict(counted),
            begun={(region, facility) for region, facility in started},
            former=dict(former),
        )

    async def begun_groups(
        self, campaign_id: int, region: str, facility: str, limit: int = 100
    ) -> list[tuple[str, str]]:
        """Step and name of the region's groups that have begun at a facility, the oldest first."""
        query = (
            select(steps.c.name, groups.c.name)
            .join(steps, steps.c.id == groups.c.step_id)
            .where(
                groups.c.campaign_id == campaign_id,
                groups.c.region == region,
                groups.c.facility == facility,
                groups.c.started_at.is_not(None),
            )
            .order_by(groups.c.id)
            .limit(limit)
        )
        async with self._reading() as connection:
            return [(step, group) for step, group in (await connection.execute(query)).all()]


def _placed_at(what: Any, ids: Select[Any]) -> Select[Any]:
    """Of placements by their ids: a column of the group, and the facility."""
    return (
        select(what, placements.c.facility)
        .select_from(placements)
        .join(groups, groups.c.id == placements.c.group_id)
        .where(placements.c.id.in_(ids))
    )
