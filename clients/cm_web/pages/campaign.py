"""One campaign: its steps as a graph, where its groups are, what ran when, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.step_pb2 import NexusEntry, Step
from starlette.requests import Request

from cm_client.forecast import done_of, forecast
from cm_client.needs import Need, needs_of
from cm_client.words import FINAL, state_word

from ..actions import offered
from ..desk import Desk, Page
from ..pictures.curves import charts
from ..pictures.dag import layout
from ..pictures.heat import bands
from ..pictures.timeline import timeline
from .about import activity_of, causes_of, explained, group_counts, last_events, nexus_sums

SLICES = 60
MANY_STEPS = 12
NEEDS = 10
KINDS = ("campaign", "step", "group")


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
        asyncio.gather(
            explained(desk, name), _needs(desk, entity, steps), last_events(desk, name, KINDS)
        ),
        asyncio.gather(
            group_counts(desk, name, slices),
            activity_of(desk, name),
            causes_of(desk, name),
            _seq_points(desk, steps),
        ),
    )
    names = {step.name.rpartition("/")[2]: step for step in steps}
    done, total = done_of(entity.group_counts)
    final = state_word(entity) in FINAL
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
