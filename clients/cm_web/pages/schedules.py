"""The schedules: when each launches next, what its last times came to, and what the next would launch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request

from cm_client import CmError, InvalidCampaignFile, short_name
from cm_client.words import state_word
from cmd_api.v1.schedule_pb2 import Schedule, ScheduleRun

from ..actions import of_schedule
from ..desk import Desk, Page
from .about import events_of_kind

RUNS = 50
EVENTS = 30

OVERLAPS = {
    "skip": "nothing is launched",
    "queue": "it waits until all of the last launch are final",
    "replace": "those of the last launch are cancelled",
}
"""What happens if the last launch still runs."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What the next time would launch (resource names), or why it would launch nothing."""

    campaigns: list[str]
    problem: str = ""


async def schedules(desk: Desk, request: Request) -> Page:
    """All schedules, those that launch first coming first."""
    found = sorted(await desk.schedules(), key=_order)
    return Page("schedules.html", "Schedules", {"schedules": found, "outcome": outcome_word})


async def schedule(desk: Desk, request: Request) -> Page:
    """One schedule with its next times, its last ones, and its two files."""
    name = f"schedules/{request.path_params['schedule']}"
    entity: Schedule = await desk.keep(
        name, "get", lambda: desk.client.get_schedule(name, max_runs=RUNS)
    )
    ahead, events = await asyncio.gather(
        ahead_of(desk, entity), events_of_kind(desk, name, "schedule", EVENTS)
    )
    return Page(
        "schedule.html",
        short_name(name),
        {
            "schedule": entity,
            "actions": of_schedule(entity),
            "ahead": ahead,
            "local": [_local(time, entity.zone) for time in entity.next_times],
            "outcome": outcome_word,
            "overlap": OVERLAPS.get(entity.overlap, entity.overlap),
            "events": events,
        },
    )


def outcome_word(run: ScheduleRun) -> str:
    """LAUNCHED, SKIPPED, QUEUED or REFUSED."""
    return ScheduleRun.Outcome.Name(run.outcome).removeprefix("OUTCOME_")


def _order(schedule: Schedule) -> tuple[int, str]:
    soonest = schedule.next_times[0].seconds if schedule.next_times else 1 << 62
    return soonest, schedule.name


def _local(time: Timestamp, zone: str) -> str:
    """What the schedule's own clock shows then: `Tue 2026-12-01 06:00`."""
    return time.ToDatetime(UTC).astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M")


async def ahead_of(desk: Desk, schedule: Schedule) -> Ahead | None:
    """The daemon checks both files anew: the stack may be gone since. None if it will not say."""
    if state_word(schedule) != "ACTIVE":
        return None

    async def ask() -> Ahead | None:
        try:
            answer = await desk.client.apply_schedule(
                schedule.text, schedule.template, file=short_name(schedule.name), dry_run=True
            )
        except InvalidCampaignFile as error:
            return Ahead([], error.message)
        except CmError:
            return None
        return Ahead(list(answer.campaigns))

    return await desk.keep(schedule.name, "ahead", ask, fresh_s=60.0)
