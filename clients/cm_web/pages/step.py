"""One step: where its groups are, when they ran, why they failed, and the groups themselves."""

from __future__ import annotations

import asyncio

from cmd_api.v1.group_pb2 import Group, ListGroupsResponse
from cmd_api.v1.step_pb2 import Step
from starlette.exceptions import HTTPException
from starlette.requests import Request

from cm_client import is_sum
from cm_client.words import FINAL, state_word

from ..actions import Action, offered
from ..desk import Desk, Page
from ..pictures.heat import bands
from ..pictures.timeline import timeline
from .about import activity_of, causes_of, explained, group_counts, last_events, nexus_of

SLICES = 200
GROUPS = 100
GROUP_STATES = [word.removeprefix("STATE_") for word in Group.State.keys()[1:]]
ON_MANY = ("retry", "accept", "reject", "hold", "release", "move")
"""What can be done with all groups that are ticked."""


async def step(desk: Desk, request: Request) -> Page:
    """The step, and one page of its groups as filtered by the query."""
    parts = request.path_params
    name = f"campaigns/{parts['campaign']}/steps/{parts['step']}"
    entity: Step = await desk.keep(name, "get", lambda: desk.client.get_step(name))
    (about, events, listed), (counts, activity, causes, nexus) = await asyncio.gather(
        asyncio.gather(
            explained(desk, name),
            last_events(desk, name, ("step", "group")),
            groups_of(desk, name, request),
        ),
        asyncio.gather(
            group_counts(desk, name, SLICES),
            activity_of(desk, name),
            causes_of(desk, name),
            nexus_of(desk, name),
        ),
    )
    actions = offered(about.actions)
    if any(entry.gap_count and not is_sum(entry) for entry in nexus or []):
        actions.append(Action("redrive", name))
    query = request.query_params
    places = sorted({row.facility for row in counts.counts if row.facility}) if counts else []
    return Page(
        "step.html",
        name.rpartition("/")[2],
        {
            "step": entity,
            "about": about,
            "actions": actions,
            "bands": None if counts is None else bands(counts.counts),
            "timeline": None if activity is None else timeline(activity),
            "causes": causes,
            "moved": [entry for entry in nexus or [] if is_sum(entry)],
            "events": events,
            "groups": listed.groups,
            "next": listed.next_page_token,
            "chosen_state": query.get("state", ""),
            "chosen_facility": query.get("facility", ""),
            "chosen_prefix": query.get("prefix", ""),
            "states": GROUP_STATES,
            "places": places,
            "on_many": ON_MANY,
        },
        every_s=0.0 if state_word(entity) in FINAL else 5.0,
    )


async def groups_of(desk: Desk, name: str, request: Request) -> ListGroupsResponse:
    """A page of the groups that the query asks for. Raises HTTPException for what is no state."""
    query = request.query_params
    word = query.get("state", "").upper()
    if word and word not in GROUP_STATES:
        raise HTTPException(400, f"{word} is no state of a group.")
    chosen = [Group.State.Value(f"STATE_{word}")] if word else []
    key = f"groups {sorted(query.items())}"
    return await desk.keep(
        name,
        key,
        lambda: desk.client.list_groups(
            name,
            page_size=GROUPS,
            page_token=query.get("page", ""),
            states=chosen,
            facility=query.get("facility", ""),
            prefix=query.get("prefix", ""),
        ),
    )
