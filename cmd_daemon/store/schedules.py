"""Schedules and what their times came to, for readers."""

from collections.abc import Sequence

from sqlalchemy import select

from cmd_daemon.kernel.records import Schedule, ScheduleRun
from cmd_daemon.kernel.states import ScheduleState
from cmd_daemon.store import codec
from cmd_daemon.store.dialect import ReaderConnection
from cmd_daemon.store.reading import columns
from cmd_daemon.store.tables import campaigns, schedule_runs, schedules


class ScheduleReading:
    """The part of the store that knows schedules."""

    _reading: ReaderConnection

    async def schedules(self, removed: bool = False) -> list[Schedule]:
        """The schedules by name; with `removed` those too that were removed."""
        query = select(*columns(schedules, codec.SCHEDULE)).order_by(schedules.c.name)
        if not removed:
            query = query.where(schedules.c.state != str(ScheduleState.REMOVED))
        async with self._reading() as connection:
            return [codec.schedule_of(row) for row in await connection.execute(query)]

    async def taken_names(self, names: Sequence[str]) -> set[str]:
        """Which of these names campaigns have, archived ones too."""
        query = select(campaigns.c.name).where(campaigns.c.name.in_(names))
        async with self._reading() as connection:
            return set((await connection.execute(query)).scalars())

    async def schedule_runs(self, name: str, limit: int = 100) -> list[ScheduleRun]:
        """What the times of a schedule came to, the last first."""
        query = (
            select(*columns(schedule_runs, codec.SCHEDULE_RUN))
            .where(schedule_runs.c.schedule == name)
            .order_by(schedule_runs.c.id.desc())
            .limit(limit)
        )
        async with self._reading() as connection:
            return [codec.schedule_run_of(row) for row in await connection.execute(query)]
