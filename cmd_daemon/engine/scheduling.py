"""Schedules at work: waits for their times and has the engine launch.

What is committed decides: after a restart the next time is read back, and a time that passed while the
daemon was away is launched late, or skipped, once.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

import structlog

from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.files import applied, known_to, reviewed
from cmd_daemon.engine.journal import Journal
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import FacilityInfo
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.records import Schedule
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, ScheduleState
from cmd_daemon.kernel.view import View
from cmd_daemon.spec import CampaignFileError, SchedulePlan, duration_text, parse_schedule

log = structlog.get_logger()

LOOK_S = 15.0
"""Seconds between two looks at the schedules: the most a launch is behind its time."""


class Scheduling:
    """Launches campaigns at the times of schedules. `ask` has an event decided and committed."""

    def __init__(
        self,
        view: View,
        plugins: Plugins,
        facilities: Mapping[str, FacilityInfo],
        journal: Journal,
        clock: Clock,
        ask: Callable[[ev.Event], Awaitable[object]],
    ) -> None:
        self._view = view
        self._plugins = plugins
        self._facilities = facilities
        self._journal = journal
        self._clock = clock
        self._ask = ask

    async def run(self) -> None:
        """Look at all schedules, for ever. One that cannot be handled now is looked at again."""
        while True:
            for schedule in list(self._view.schedules.values()):
                try:
                    event = await self._due(schedule)
                    if event is not None:
                        await self._ask(event)
                except Exception:
                    log.exception("a schedule could not be handled", schedule=schedule.name)
            await self._clock.wait(LOOK_S)

    async def now(
        self, schedule: Schedule, actor: str, reason: str, request_id: str
    ) -> ev.ScheduleDue:
        """The event of a launch by hand."""
        due = self._clock.now()
        campaigns, problem = await self._campaigns(schedule, due, actor, reason)
        return ev.ScheduleDue(
            schedule=schedule.name,
            expected=None,
            due_at=due,
            next_at=schedule.next_at,
            campaigns=campaigns,
            problem=problem,
            by_hand=True,
            actor=actor,
            reason=reason,
            request_id=request_id,
        )

    async def _due(self, schedule: Schedule) -> ev.ScheduleDue | None:
        """What a schedule asks for now."""
        now = self._clock.now()
        if schedule.state is not ScheduleState.ACTIVE:
            return None
        if schedule.next_at is not None and schedule.next_at <= now:
            return await self._come(schedule, schedule.next_at, now)
        if schedule.queued_at is not None and not self._running(schedule):
            campaigns, problem = await self._campaigns(schedule, schedule.queued_at)
            return ev.ScheduleDue(
                schedule=schedule.name,
                expected=schedule.queued_at,
                due_at=schedule.queued_at,
                next_at=schedule.next_at,
                campaigns=campaigns,
                problem=problem,
            )
        return None

    async def _come(self, schedule: Schedule, expected: int, now: int) -> ev.ScheduleDue:
        """Its time has come; if several have, the last one counts."""
        plan = _plan(schedule)
        due, following = expected, plan.crontab.after(expected)
        missed = 0
        while following <= now:
            due, following, missed = following, plan.crontab.after(following), missed + 1
        reason = f"{missed} times before it were missed" if missed else ""
        late = ""
        if now - due > plan.file.late * 1e6:
            limit = duration_text(plan.file.late)
            late = f"the daemon was away: more than {limit} late, which the schedule allows"
        campaigns, problem = ((), "") if late else await self._campaigns(schedule, due)
        return ev.ScheduleDue(
            schedule=schedule.name,
            expected=expected,
            due_at=due,
            next_at=following,
            campaigns=campaigns,
            problem=problem,
            late=late,
            reason=reason,
        )

    async def _campaigns(
        self, schedule: Schedule, due: int, actor: str = "", reason: str = ""
    ) -> tuple[tuple[ev.CampaignApplied, ...], str]:
        """What is to be launched for a time; or why it cannot be, in words."""
        known = known_to(self._plugins, self._facilities)
        try:
            plans = await asyncio.to_thread(_plan(schedule).launch, due, known)
            made = tuple(
                applied(
                    reviewed(self._plugins, each),
                    start=True,
                    actor=actor or f"schedule {schedule.name}",
                    reason=reason or f"launched by schedule {schedule.name}",
                )
                for each in plans
            )
        except CampaignFileError as error:
            return (), str(error)
        if there := await self._journal.taken_names([each.name for each in made]):
            return (), f"there is a campaign {min(there)} already"
        return made, ""

    def _running(self, schedule: Schedule) -> bool:
        """Whether a campaign of the last launch is not final."""
        for name in json.loads(schedule.last_campaigns):
            ident = self._view.campaign_ids.get(name)
            if ident is not None and self._view.campaigns[ident].state not in FINAL_CAMPAIGN:
                return True
        return False


def _plan(schedule: Schedule) -> SchedulePlan:
    """The schedule as it was checked when it was applied."""
    return parse_schedule(schedule.text, schedule.template, file=f"schedule {schedule.name}")
