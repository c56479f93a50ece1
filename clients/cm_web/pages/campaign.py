"""One campaign: its steps as a graph, where its groups are, what ran when, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from cm_client import is_sum
from cm_client.needs import Need, needs_of
from cm_client.words import state_word
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.daemon_pb2 import ExplainEntityResponse
from cmd_api.v1.event_pb2 import Event
from cmd_api.v1.statistics_pb2 import Activity, FailureCauses, GroupCounts
from cmd_api.v1.step_pb2 import NexusEntry, Step

from .. import states
from ..actions import offered
from ..desk import Desk, Page
from ..forecast import forecast
from ..pictures.curves import charts
from ..pictures.dag import layout
from ..pictures.heat import bands
from ..pictures.timeline import timeline

SLICES = 60
MANY_STEPS = 12
SPANS = 80
CAUSES = 12
EVENTS = 15
NEEDS = 10


@dataclass(frozen=True, slots=True)
class SeqPoint:
    """A step that needs the outputs of several facilities in one place, or a person."""

    step: Step
    movements: list[Movement]


@dataclass(frozen=True, slots=True)
class Movement:
    """What one movement of a step has brought, over all ways and types."""

    movement: str
    made: int
    arrived: int
    ingested: int
    not_for_here: int
    gaps: int
    bytes: int

    @property
    def whole(self) -> bool:
        """Whether everything has come where it should."""
        return not self.gaps and self.ingested + self.not_for_here >= self.made


async def campaign(desk: Desk, request: Request) -> Page:
    """All of it on one page."""
    name = f"campaigns/{request.path_params['campaign']}"
    entity: Campaign = await desk.keep(name, "get", lambda: desk.client.get_campaign(name))
    steps = await desk.steps(name)
    slices = SLICES if len(steps) <= MANY_STEPS else SLICES // 2
    (about, needs, events), (counts, activity, causes, points) = await asyncio.gather(
        asyncio.gather(explained(desk, name), _needs(desk, entity, steps), last_events(desk, name)),
        asyncio.gather(
            group_counts(desk, name, slices),
            activity_of(desk, name),
            causes_of(desk, name),
            _seq_points(desk, steps),
        ),
    )
    names = {step.name.rpartition("/")[2]: step for step in steps}
    done, total = states.done_of(entity.group_counts)
    final = state_word(entity) in states.FINAL
    return Page(
        "campaign.html",
        name.partition("/")[2],
        {
            "campaign": entity,
            "about": about,
            "actions": offered(about.actions),
            "steps": steps,
            "names": names,
            "graph": layout({name: list(step.after) for name, step in names.items()}),
            "needs": needs,
            "done": done,
            "total": total,
            "forecast": forecast(entity),
            "bands": None if counts is None else bands(counts.counts),
            "timeline": None if activity is None else timeline(activity),
            "activity": activity,
            "charts": None if activity is None else charts(activity),
            "causes": causes,
            "points": points,
            "events": events,
        },
        every_s=0.0 if final else 5.0,
    )


async def _needs(desk: Desk, entity: Campaign, steps: Sequence[Step]) -> list[Need]:
    async def ask() -> list[Need]:
        return await asyncio.to_thread(needs_of, desk.blocking, entity, steps, NEEDS)

    return await desk.keep(entity.name, "needs", ask)


async def explained(desk: Desk, name: str) -> ExplainEntityResponse:
    """Why an entity stands where it stands, and what can be done."""
    return await desk.keep(name, "why", lambda: desk.client.explain_entity(name))


async def last_events(desk: Desk, name: str) -> list[Event]:
    """The newest events of an entity and of what is below it, jobs aside."""

    async def ask() -> list[Event]:
        kinds = ("campaign", "step", "group")
        answer = await desk.client.list_events(
            name, newest_first=True, page_size=EVENTS, kinds=kinds
        )
        return list(answer.events)

    return await desk.keep(name, "events", ask)


async def group_counts(desk: Desk, name: str, slices: int) -> GroupCounts | None:
    """The groups of a campaign or a step in slices; None if they are still being counted."""
    return await desk.soon(
        name, f"counts {slices}", lambda: desk.client.get_group_counts(name, slices=slices)
    )


async def activity_of(desk: Desk, name: str) -> Activity | None:
    """What a campaign or a step did when; None if it is still being counted."""
    return await desk.soon(name, "activity", lambda: desk.client.get_activity(name, spans=SPANS))


async def causes_of(desk: Desk, name: str) -> FailureCauses | None:
    """Why attempts failed; None if they are still being counted."""
    return await desk.soon(
        name, "causes", lambda: desk.client.get_failure_causes(name, max_causes=CAUSES)
    )


async def nexus_sums(desk: Desk, step: Step) -> list[NexusEntry] | None:
    """The nexus log of a step, summed over its groups; None if it is still being summed."""

    async def ask() -> list[NexusEntry]:
        answer = await desk.client.get_nexus(step.name)
        return [entry for entry in answer.entries if is_sum(entry)]

    return await desk.soon(step.name, "nexus", ask)


async def _seq_points(desk: Desk, steps: Sequence[Step]) -> list[SeqPoint]:
    begun = [step for step in steps if step.start_time.seconds and step.splitter]
    told = await asyncio.gather(*(nexus_sums(desk, step) for step in begun))
    sums = {step.name: entries or [] for step, entries in zip(begun, told, strict=True)}
    points = (SeqPoint(step, _movements(sums.get(step.name, []))) for step in steps)
    return [point for point in points if point.movements or point.step.breakpoint]


def _movements(entries: Sequence[NexusEntry]) -> list[Movement]:
    found = []
    for movement in dict.fromkeys(entry.movement for entry in entries if entry.movement != "purge"):
        of = [entry for entry in entries if entry.movement == movement]
        found.append(
            Movement(
                movement,
                *(
                    sum(getattr(entry, field) for entry in of)
                    for field in (
                        "made", "arrived", "ingested", "not_for_here", "gap_count", "bytes",
                    )
                ),
            )
        )  # fmt: skip
    return found
