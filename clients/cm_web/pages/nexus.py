"""The nexus view: what was made, registered, moved and taken in, movement by movement, way by way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from cmd_api.v1.step_pb2 import NexusEntry, Step
from starlette.requests import Request

from cm_client import is_sum

from ..desk import Desk, Page, first
from .about import nexus_of

GAPS = 200


@dataclass(slots=True)
class Way:
    """One movement from one place to another, over all dataset types."""

    movement: str
    source: str
    destination: str
    types: list[NexusEntry] = field(default_factory=list)

    def total(self, count: str) -> int:
        """A count of the log (`made`, `bytes`, ...) over all types."""
        return sum(getattr(entry, count) for entry in self.types)

    @property
    def stages(self) -> list[tuple[str, int]]:
        """How far the datasets are, from the Butler that made them to the one that took them in."""
        counts = [("made", self.total("made"))]
        if registered := self.total("registered"):
            counts += [("registered", registered), ("rule ok", self.total("rule_ok"))]
        if not registered or self.total("sent") != registered:
            counts.append(("sent", self.total("sent")))
        return [*counts, ("arrived", self.total("arrived")), ("ingested", self.total("ingested"))]

    @property
    def expected(self) -> int:
        """How many should be taken in."""
        return self.total("made") - self.total("not_for_here")


@dataclass(slots=True)
class Told:
    """The log of one step; `ways` is None while it is being summed."""

    step: Step
    ways: list[Way] | None
    purged: list[NexusEntry] = field(default_factory=list)
    gaps: list[NexusEntry] = field(default_factory=list)
    more_gaps: int = 0


async def nexus(desk: Desk, request: Request) -> Page:
    """The log of each step of a campaign that has moved something."""
    campaign = f"campaigns/{request.path_params['campaign']}"
    steps = await desk.steps(campaign)
    begun = [step for step in steps if step.start_time.seconds and step.splitter]
    told = await asyncio.gather(*(nexus_of(desk, step.name) for step in begun))
    shown = [_told(step, entries) for step, entries in zip(begun, told, strict=True)]
    return Page(
        "nexus.html",
        f"Nexus log of {campaign.partition('/')[2]}",
        {
            "campaign": campaign,
            "steps": [each for each in shown if each.ways is None or each.ways or each.purged],
        },
        every_s=10.0,
    )


def _told(step: Step, entries: list[NexusEntry] | None) -> Told:
    if entries is None:
        return Told(step, None)
    sums = [entry for entry in entries if is_sum(entry)]
    single = [entry for entry in entries if entry.gap_count and not is_sum(entry)]
    listed, more = first(single, GAPS)
    purged = [entry for entry in sums if entry.movement == "purge"]
    return Told(
        step, ways(entry for entry in sums if entry.movement != "purge"), purged, listed, more
    )


def ways(entries: Iterable[NexusEntry]) -> list[Way]:
    """The entries put together by movement, source and destination, in their order."""
    found: dict[tuple[str, str, str], Way] = {}
    for entry in entries:
        key = (entry.movement, entry.source, entry.destination)
        found.setdefault(key, Way(*key)).types.append(entry)
    return list(found.values())
