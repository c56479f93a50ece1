"""The first page: all campaigns, what needs a person, facilities, last events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.event_pb2 import Event
from starlette.requests import Request

from cm_client.forecast import Forecast, done_of, forecast
from cm_client.needs import Need, needs_of, ranked
from cm_client.words import FINAL, state_word

from ..desk import Desk, Page, first

NEEDS_EACH = 5
NEEDS = 12
EVENTS = 12
LISTED = 100


@dataclass(frozen=True, slots=True)
class Line:
    """One campaign of the list."""

    campaign: Campaign
    state: str
    done: int
    total: int
    forecast: Forecast


async def campaigns(desk: Desk, request: Request) -> Page:
    """All campaigns, those that need a person first."""
    found, facilities, needs, events = await asyncio.gather(
        desk.campaigns(), desk.facilities(), all_needs(desk), last_events(desk)
    )
    lines = [_line(campaign) for campaign in ranked(found)]
    shown, more = first(lines, LISTED)
    waiting = needs[:NEEDS]
    return Page(
        "campaigns.html",
        "Campaigns",
        {
            "lines": shown,
            "more": more,
            "needs": waiting,
            "more_needs": sum(line.campaign.needs_person for line in lines) - len(waiting),
            "facilities": facilities,
            "events": events,
        },
        every_s=5.0,
    )


def _line(campaign: Campaign) -> Line:
    done, total = done_of(campaign.group_counts)
    return Line(campaign, state_word(campaign), done, total, forecast(campaign))


async def all_needs(desk: Desk) -> list[Need]:
    """What waits for a person, a few of each campaign."""

    async def ask() -> list[Need]:
        found: list[Need] = []
        for campaign in await desk.campaigns():
            if campaign.needs_person and state_word(campaign) not in FINAL:
                steps = await desk.steps(campaign.name)
                found += await asyncio.to_thread(
                    needs_of, desk.blocking, campaign, steps, NEEDS_EACH
                )
            if len(found) > NEEDS:
                break
        return found

    return await desk.keep("campaigns", "needs", ask)


async def last_events(desk: Desk) -> list[Event]:
    """The newest events of campaigns, steps, groups and facilities."""

    async def ask() -> list[Event]:
        kinds = ("campaign", "step", "group", "facility")
        answer = await desk.client.list_events(newest_first=True, page_size=EVENTS, kinds=kinds)
        return list(answer.events)

    return await desk.keep("events", "last", ask)
