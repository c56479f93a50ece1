"""What the fake daemon serves: a few campaigns in memory, and the faults it is told to have."""

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from cmd_api.v1 import campaign_pb2, event_pb2, facility_pb2, group_pb2, job_pb2, step_pb2

HOSTILE = "[red]bad[/red] \x1b[31mESC\x1b]0;title\x07 \u202eback :smile:\nsecond line"


@dataclass(frozen=True)
class Fault:
    """What a call ends with instead of its answer.

    With `after` it is carried out all the same; with `hang` it never ends by itself;
    with `passes` it is no fault at all, to let a call through before the next fault.
    """

    code: grpc.StatusCode
    reason: str = ""
    message: str = "told to fail"
    after: bool = False
    hang: bool = False
    passes: bool = False
    problems: tuple[campaign_pb2.Problem, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


async def fail(context: Any, fault: Fault) -> None:
    """Abort a call as the daemon does."""
    if fault.hang:
        await asyncio.Event().wait()
    details = []
    if fault.reason:
        details.append(any_pb2.Any())
        details[0].Pack(
            error_details_pb2.ErrorInfo(
                reason=fault.reason, domain="cmd-daemon", metadata=dict(fault.metadata)
            )
        )
    for problem in fault.problems:
        details.append(any_pb2.Any())
        details[-1].Pack(problem)
    status = status_pb2.Status(
        code=code_pb2.Code.Value(fault.code.name), message=fault.message, details=details
    )
    trailer = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(fault.code, fault.message, trailing_metadata=trailer)


class World:
    """Campaigns, steps, groups, jobs, events; changed on the server's loop only."""

    def __init__(self) -> None:
        self.campaigns: dict[str, campaign_pb2.Campaign] = {}
        self.steps: dict[str, step_pb2.Step] = {}
        self.groups: dict[str, group_pb2.Group] = {}
        self.jobs: dict[str, job_pb2.Job] = {}
        self.facilities = {"facilities/USDF": rich_facility()}
        self.log = b"first line\n\x1b[31mred\x1b[0m line\n"
        self.events: list[event_pb2.Event] = []
        self.oldest = 0
        self.changed = asyncio.Condition()
        self.watchers: set[asyncio.Queue[Fault]] = set()
        self.done: dict[str, Any] = {}
        """Answers by request_id."""
        self.calls: list[tuple[str, dict[str, str], Any]] = []
        """Method, metadata and request of every call."""
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)

    def add_campaign(self, campaign: str, groups: int = 3, state: str = "STATE_RUNNING") -> None:
        """A campaign with an accepted step, one with some groups, and a breakpoint."""
        name = f"campaigns/{campaign}"
        value = campaign_pb2.Campaign.State.Value(state)
        self.campaigns[name] = campaign_pb2.Campaign(
            name=name, owner="pilot1", state=value, etag="e1", file_version=1
        )
        for step, step_state in (
            ("calibrate", step_pb2.Step.STATE_ACCEPTED),
            ("coadd", step_pb2.Step.STATE_RUNNING),
            ("signoff", step_pb2.Step.STATE_WAITING),
        ):
            self.steps[f"{name}/steps/{step}"] = step_pb2.Step(
                name=f"{name}/steps/{step}", state=step_state
            )
        for number in range(groups):
            group = f"{name}/steps/coadd/groups/{number:04}"
            self.groups[group] = group_pb2.Group(
                name=group, state=group_pb2.Group.STATE_RUNNING, facility="facilities/USDF"
            )
            job = f"{group}/jobs/process"
            self.jobs[job] = job_pb2.Job(
                name=job, state=job_pb2.Job.STATE_RUNNING, kind="process", attempt=1
            )
        self.count(name)

    def count(self, campaign: str) -> None:
        """Bring the counters up to date."""
        waiting = (group_pb2.Group.STATE_HELD, group_pb2.Group.STATE_REVIEW)
        groups = [g for g in self.groups.values() if g.name.startswith(campaign + "/")]
        counts: dict[str, int] = defaultdict(int)
        for group in groups:
            counts[group_pb2.Group.State.Name(group.state).removeprefix("STATE_")] += 1
        entity = self.campaigns[campaign]
        steps = [s for s in self.steps.values() if s.name.startswith(campaign + "/")]
        entity.needs_person = sum(g.state in waiting for g in groups) + sum(
            s.state in (step_pb2.Step.STATE_REVIEW, step_pb2.Step.STATE_HELD) for s in steps
        )
        step = self.steps[f"{campaign}/steps/coadd"]
        for holder in (entity, step):
            holder.group_counts.clear()
            for state, number in counts.items():
                holder.group_counts[state] = number

    async def event(self, name: str, before: str, after: str, **more: Any) -> None:
        """Commit an event and wake the watchers."""
        kind = ("campaign", "step", "group", "job")[name.count("/") // 2]
        event = event_pb2.Event(
            seq=len(self.events) + 1,
            name=name,
            kind=kind,
            from_state=before,
            to_state=after,
            **more,
        )
        event.time.GetCurrentTime()
        self.events.append(event)
        async with self.changed:
            self.changed.notify_all()

    async def move(self, name: str, state: str, reason: str = "") -> None:
        """Put an entity into a state, such as HELD, with its event."""
        table: dict[str, Any] = (self.campaigns, self.steps, self.groups, self.jobs)[
            name.count("/") // 2
        ]
        entity = table[name]
        states = type(entity).State
        before = states.Name(entity.state).removeprefix("STATE_")
        entity.state, entity.reason = states.Value(f"STATE_{state}"), reason
        self.count("/".join(name.split("/")[:2]))
        await self.event(name, before, state, reason=reason)


def rich_facility() -> facility_pb2.Facility:
    """USDF with one of everything that a facility can have."""
    return facility_pb2.Facility(
        name="facilities/USDF",
        up=True,
        slots=8,
        running=3,
        queued=12_000,
        memory=2**33,
        cores=4,
        walltime=86_400.0,
        transport="ssh",
        stacks=["w1"],
        butlers={"demo": "/demo"},
        drivers=[
            facility_pb2.DriverHealth(driver="local", breaker="closed", in_flight=3, limit=8),
            facility_pb2.DriverHealth(driver="mover", breaker="open", message=HOSTILE),
        ],
        queues=[facility_pb2.Queue(queue="high", slots=2, memory=2**34, running=1, ready=4)],
        storage=[
            facility_pb2.StorageElement(element="disk", path="/disk", free=2**40, total=2**42),
            facility_pb2.StorageElement(element="full", path="/full", free=0, total=2**42),
            facility_pb2.StorageElement(element="TAPE", path="/tape", message=HOSTILE),
        ],
        checks=[facility_pb2.HealthCheck(check="agent", vital=True, message=HOSTILE)],
        edited=facility_pb2.FacilityLimits(slots=8, lanes={"local": 3}),
        load=[facility_pb2.FacilityLoad(step="campaigns/DRP1/steps/coadd", placed=1, held=2)],
    )


def page_of(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """A page and the token of the next one."""
    start = int(request.page_token.removeprefix("p") or 0)
    end = start + (request.page_size or 100)
    return items[start:end], f"p{end}" if end < len(items) else ""


def below(parent: str, name: str) -> bool:
    """Whether a name is the parent or under it."""
    return not parent or name == parent or name.startswith(parent + "/")
