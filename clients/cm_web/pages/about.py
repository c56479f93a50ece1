"""What the pages of a campaign, a step, a group and a job ask alike."""

from __future__ import annotations

from collections.abc import Sequence

from cmd_api.v1.daemon_pb2 import ExplainEntityResponse
from cmd_api.v1.event_pb2 import Event
from cmd_api.v1.statistics_pb2 import Activity, FailureCauses, GroupCounts
from cmd_api.v1.step_pb2 import NexusEntry, Step

from cm_client import is_sum

from ..desk import Desk

SPANS = 80
CAUSES = 12
EVENTS = 15


async def explained(desk: Desk, name: str) -> ExplainEntityResponse:
    """Why an entity stands where it stands, and what can be done."""
    return await desk.keep(name, "why", lambda: desk.client.explain_entity(name))


async def last_events(desk: Desk, name: str, kinds: Sequence[str] = ()) -> list[Event]:
    """The newest events of an entity and of what is below it."""

    async def ask() -> list[Event]:
        answer = await desk.client.list_events(
            name, newest_first=True, page_size=EVENTS, kinds=kinds
        )
        return list(answer.events)

    return await desk.keep(name, "events", ask)


async def group_counts(desk: Desk, name: str, slices: int = 0) -> GroupCounts | None:
    """The groups of a campaign or a step, in slices if asked for; None if they are still being counted."""
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


async def nexus_of(desk: Desk, name: str) -> list[NexusEntry] | None:
    """The nexus log of a step or a group; None if it is still being summed."""

    async def ask() -> list[NexusEntry]:
        return list((await desk.client.get_nexus(name)).entries)

    return await desk.soon(name, "nexus", ask)


async def nexus_sums(desk: Desk, step: Step) -> list[NexusEntry] | None:
    """The nexus log of a step over all its groups; None if it is still being summed."""
    entries = await nexus_of(desk, step.name)
    return None if entries is None else [entry for entry in entries if is_sum(entry)]
