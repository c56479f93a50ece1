"""The facilities: how busy and how well they are, their shares, and what moves between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cmd_api.v1.event_pb2 import Event
from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.statistics_pb2 import GroupCounts, Way
from starlette.requests import Request

from cm_client import short_name
from cm_client.words import FINAL, state_word

from ..actions import of_facility
from ..desk import Desk, Page
from .about import group_counts

CAMPAIGNS = 20
EVENTS = 30


@dataclass(frozen=True, slots=True)
class Share:
    """What a facility has of a campaign's groups (0 to 1), and what it is to have."""

    facility: str
    groups: int
    actual: float
    target: float


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of one campaign; None while its groups are being counted."""

    campaign: str
    total: int
    shares: list[Share] | None


@dataclass(frozen=True, slots=True)
class Matrix:
    """What moved from place to place. `most` are the most bytes of any way between two places."""

    sources: list[str]
    destinations: list[str]
    ways: dict[tuple[str, str], Way]
    most: int

    def level(self, way: Way) -> int:
        """How much it is beside the others, 0 to 4."""
        return -(-4 * way.bytes // self.most) if self.most else 0


async def facilities(desk: Desk, request: Request) -> Page:
    """All facilities."""
    found = await desk.facilities()
    shares, ways = await asyncio.gather(_shares(desk), _ways(desk))
    names = [short_name(facility.name) for facility in found]
    return Page(
        "facilities.html",
        "Facilities",
        {
            "facilities": found,
            "shares": shares,
            "matrix": None if ways is None else matrix(ways, names),
        },
        every_s=3.0,
    )


async def facility(desk: Desk, request: Request) -> Page:
    """One facility with all it has."""
    name = f"facilities/{request.path_params['facility']}"
    entity: Facility = await desk.keep(name, "get", lambda: desk.client.get_facility(name))
    return Page(
        "facility.html",
        short_name(name),
        {
            "facility": entity,
            "actions": of_facility(entity),
            "events": await _events(desk, name),
        },
        every_s=3.0,
    )


async def _shares(desk: Desk) -> list[Shares]:
    """Of the campaigns that run and whose file names shares."""
    found = []
    running = [c for c in await desk.campaigns() if state_word(c) not in (*FINAL, "DRAFT")]
    for campaign in running[-CAMPAIGNS:]:
        steps = await desk.steps(campaign.name)
        target = next((dict(sorted(step.shares.items())) for step in steps if step.shares), None)
        if target:
            found.append(shares_of(campaign.name, target, await group_counts(desk, campaign.name)))
    return found


def shares_of(campaign: str, target: dict[str, float], counts: GroupCounts | None) -> Shares:
    """The groups that each facility has, beside what it is to have; target in any unit."""
    if counts is None:
        return Shares(campaign, 0, None)
    placed: dict[str, int] = dict.fromkeys(target, 0)
    for each in counts.counts:
        if each.facility:
            name = short_name(each.facility)
            placed[name] = placed.get(name, 0) + each.count
    total = sum(placed.values())
    whole = sum(target.values()) or 1.0
    shares = [
        Share(name, number, number / total if total else 0.0, target.get(name, 0.0) / whole)
        for name, number in placed.items()
    ]
    return Shares(campaign, total, shares)


async def _ways(desk: Desk) -> list[Way] | None:
    async def ask() -> list[Way]:
        return list((await desk.client.get_ways()).ways)

    return await desk.soon("campaigns", "ways", ask)


def matrix(ways: Sequence[Way], order: Sequence[str]) -> Matrix:
    """Places in the order of the facilities, others after them."""
    by_place = {(short_name(way.source), short_name(way.destination)): way for way in ways}
    rank = {name: place for place, name in enumerate(order)}

    def sort(places: set[str]) -> list[str]:
        return sorted(places, key=lambda name: (rank.get(name, len(rank)), name))

    moved = [way.bytes for (source, destination), way in by_place.items() if source != destination]
    return Matrix(
        sort({source for source, _ in by_place}),
        sort({destination for _, destination in by_place}),
        by_place,
        max(moved, default=0),
    )


async def _events(desk: Desk, name: str) -> list[Event]:
    """What persons have done to it."""

    async def ask() -> list[Event]:
        answer = await desk.client.list_events(
            newest_first=True, page_size=1000, kinds=["facility"]
        )
        return [event for event in answer.events if event.name == name][:EVENTS]

    return await desk.keep(name, "events", ask)
