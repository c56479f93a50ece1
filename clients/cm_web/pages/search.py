"""Search: campaigns and steps by any part of their names, groups by the beginning of theirs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from cmd_api.v1.campaign_pb2 import Campaign
from starlette.requests import Request

from cm_client import CmError, Name, parse_name, short_name
from cm_client.words import FINAL, state_word

from ..desk import Desk, Page

FOUND = 50
CAMPAIGNS = 10
"""Campaigns whose groups are looked through, the newest first."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One entity (resource name) that was found."""

    kind: str
    name: str
    state: str
    about: str = ""


async def search(desk: Desk, request: Request) -> Page:
    """What the words `q` find. A name in full finds its entity, whatever it is."""
    words = request.query_params.get("q", "").strip()[:200]
    hits = await _find(desk, words) if words else []
    return Page("search.html", "Search", {"words": words, "hits": hits[:FOUND], "most": FOUND})


async def _find(desk: Desk, words: str) -> list[Hit]:
    exact, names, groups = await asyncio.gather(
        _exact(desk, words), _names(desk, words.lower()), _groups(desk, words)
    )
    found: dict[str, Hit] = {}
    for hit in (*exact, *names, *groups):
        found.setdefault(hit.name, hit)
    return list(found.values())


async def _exact(desk: Desk, words: str) -> list[Hit]:
    try:
        name = parse_name(words.strip("/"))
    except ValueError:
        return []
    try:
        told = await desk.client.explain_entity(name.full)
    except CmError:
        return []
    return [Hit(name.level, name.full, told.state, told.summary)]


async def _names(desk: Desk, words: str) -> list[Hit]:
    found = []
    for campaign in reversed(await desk.campaigns()):
        if words in short_name(campaign.name).lower() or words in campaign.ticket.lower():
            about = f"{campaign.owner} {campaign.ticket}".strip()
            found.append(Hit("campaign", campaign.name, state_word(campaign), about))
    for campaign in _latest(await desk.campaigns()):
        for step in await desk.steps(campaign.name):
            if words in step.name.rpartition("/")[2].lower():
                found.append(Hit("step", step.name, state_word(step), step.reason))
    return found


async def _groups(desk: Desk, words: str) -> list[Hit]:
    """Below `campaign/step/` there; else in the newest campaigns."""
    above, slash, prefix = words.rpartition("/")
    if not prefix:
        return []
    newest = _latest(await desk.campaigns())
    parents = [above] if slash else [campaign.name for campaign in newest]

    async def look(parent: str) -> list[Hit]:
        try:
            name: Name = parse_name(parent)
            answer = await desk.client.list_groups(name.full, prefix=prefix, page_size=FOUND)
        except (CmError, ValueError):
            return []
        return [Hit("group", g.name, state_word(g), g.reason) for g in answer.groups]

    return [hit for hits in await asyncio.gather(*map(look, parents)) for hit in hits]


def _latest(campaigns: list[Campaign]) -> list[Campaign]:
    """The newest, those that are not final before the others."""

    def rank(campaign: Campaign) -> tuple[bool, int]:
        return state_word(campaign) in FINAL, -campaign.create_time.ToMicroseconds()

    return sorted(campaigns, key=rank)[:CAMPAIGNS]
