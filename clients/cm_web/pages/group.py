"""One group: why it stands where it stands, where it was placed and why, its jobs, quanta, data."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from cmd_api.v1.group_pb2 import Group, Placement, PlacementFactor
from cmd_api.v1.job_pb2 import Attempt, Job
from starlette.requests import Request

from cm_client import short_name
from cm_client.words import FINAL, state_word

from ..actions import Action, offered
from ..desk import Desk, Page
from .about import explained, last_events, nexus_of

JOBS = 200
PLACEMENTS = 10


@dataclass(slots=True)
class Decision:
    """A placement decision as a table: a row for each filter or factor, a column for each facility."""

    placement: Placement
    facilities: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, list[PlacementFactor]]] = field(default_factory=dict)


def decision(placement: Placement) -> Decision:
    """The table of a decision; facilities as short names."""
    made = Decision(placement)
    for factor in placement.factors:
        facility = short_name(factor.facility)
        if facility not in made.facilities:
            made.facilities.append(facility)
        made.rows.setdefault(factor.name, {}).setdefault(facility, []).append(factor)
    return made


async def group(desk: Desk, request: Request) -> Page:
    """Everything of one group; with `without=FACILITY` also where it would go then."""
    parts = request.path_params
    name = "campaigns/{campaign}/steps/{step}/groups/{group}".format(**parts)
    entity: Group = await desk.keep(name, "get", lambda: desk.client.get_group(name))
    without = request.query_params.get("without", "")
    about, events, placements, jobs, nexus = await asyncio.gather(
        explained(desk, name),
        last_events(desk, name),
        _placements(desk, name),
        _jobs(desk, name),
        nexus_of(desk, name),
    )
    attempts = await _last_attempts(desk, jobs)
    actions = offered(about.actions)
    if any(entry.gap_count for entry in nexus or []):
        actions.append(Action("redrive", name))
    what_if = None
    if without:
        answer = await desk.client.explain_entity(name, without=[f"facilities/{without}"])
        what_if = decision(answer.what_if) if answer.HasField("what_if") else None
    return Page(
        "group.html",
        short_name(name),
        {
            "group": entity,
            "about": about,
            "actions": actions,
            "jobs": jobs,
            "attempts": attempts,
            "tasks": _tasks(jobs, attempts),
            "decisions": [decision(each) for each in placements[:PLACEMENTS]],
            "without": without,
            "what_if": what_if,
            "nexus": nexus,
            "events": events,
        },
        every_s=0.0 if state_word(entity) in FINAL else 3.0,
    )


async def _placements(desk: Desk, name: str) -> list[Placement]:
    async def ask() -> list[Placement]:
        return list((await desk.client.list_placements(name)).placements)

    return await desk.keep(name, "placements", ask)


async def _jobs(desk: Desk, name: str) -> list[Job]:
    async def ask() -> list[Job]:
        return list((await desk.client.list_jobs(name, page_size=JOBS)).jobs)

    return await desk.keep(name, "jobs", ask)


async def _last_attempts(desk: Desk, jobs: list[Job]) -> dict[str, Attempt]:
    """The newest attempt of each job that has begun."""

    async def ask(job: Job) -> Attempt | None:
        found = (await desk.client.list_attempts(job.name)).attempts
        return found[-1] if found else None

    begun = [job for job in jobs if job.attempt]
    told = await asyncio.gather(
        *(desk.keep(job.name, "last attempt", lambda job=job: ask(job)) for job in begun)  # type: ignore[misc]
    )
    return {job.name: attempt for job, attempt in zip(begun, told, strict=True) if attempt}


def _tasks(jobs: list[Job], attempts: dict[str, Attempt]) -> Attempt | None:
    """The attempt of the newest process job that told of quanta."""
    told = [attempts[job.name] for job in jobs if job.name in attempts]
    return next((attempt for attempt in reversed(told) if attempt.tasks), None)
