"""A small world behind the real contract, for tests of the clients alone.

It answers over a Unix socket like the daemon, from memory, and it can be told to fail, to lose
answers, to end watches, to vanish and to come back.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from fake_world import HOSTILE, Fault, World, below, fail, page_of

from cmd_api.v1 import (
    campaign_pb2,
    campaign_pb2_grpc,
    daemon_pb2,
    daemon_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    facility_pb2,
    facility_pb2_grpc,
    group_pb2,
    group_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    step_pb2,
    step_pb2_grpc,
)

T = TypeVar("T")


class Services(
    campaign_pb2_grpc.CampaignServiceServicer,
    step_pb2_grpc.StepServiceServicer,
    group_pb2_grpc.GroupServiceServicer,
    job_pb2_grpc.JobServiceServicer,
    event_pb2_grpc.EventServiceServicer,
    facility_pb2_grpc.FacilityServiceServicer,
    daemon_pb2_grpc.DaemonServiceServicer,
):
    """All services over one world. What is missing here answers UNIMPLEMENTED."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def _find(self, table: dict[str, T], name: str, context: Any) -> T:
        if name not in table:
            message = f"There is no {name}."
            await fail(context, Fault(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", message))
        return table[name]

    async def _once(self, request: Any, do: Callable[[], Awaitable[T]]) -> T:
        key = request.request_id
        if not key or key not in self.world.done:
            answer = await do()
            self.world.done[key] = answer
            return answer
        return self.world.done[key]  # type: ignore[no-any-return]

    async def PlanCampaign(self, request: Any, context: Any) -> Any:
        text = request.source.text
        if b"broken" in text:
            problem = campaign_pb2.Problem(
                file=request.source.file,
                line=3,
                column=5,
                field="steps.coadd",
                message="no such key 'splitt'",
                hint="did you mean 'split'?",
            )
            fault = Fault(
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_CAMPAIGN_FILE",
                "2 problems",
                problems=(problem, campaign_pb2.Problem(message=HOSTILE)),
            )
            await fail(context, fault)
        total = 400
        most = min(request.max_groups or 1000, total)
        return campaign_pb2.PlanCampaignResponse(
            campaign="DRP2",
            group_count=total,
            job_count=total,
            steps=[
                campaign_pb2.PlannedStep(
                    step="coadd",
                    splitter="tract",
                    group_count=total,
                    job_count=total,
                    job_names=["process"],
                    output="u/pilot1/DRP2/coadd",
                    groups=[
                        campaign_pb2.PlannedGroup(group=f"{i:04}", where=HOSTILE)
                        for i in range(most)
                    ],
                )
            ],
        )

    async def ApplyCampaign(self, request: Any, context: Any) -> Any:
        await self.PlanCampaign(campaign_pb2.PlanCampaignRequest(source=request.source), context)

        async def do() -> Any:
            state = "STATE_RUNNING" if request.start else "STATE_DRAFT"
            self.world.add_campaign("DRP2", state=state)
            campaign = self.world.campaigns["campaigns/DRP2"]
            return campaign_pb2.ApplyCampaignResponse(campaign=campaign, created=True)

        return await self._once(request, do)

    async def GetCampaignSchema(self, request: Any, context: Any) -> Any:
        return campaign_pb2.GetCampaignSchemaResponse(schema='{"type": "object"}')

    async def GetCampaign(self, request: Any, context: Any) -> Any:
        return await self._find(self.world.campaigns, request.name, context)

    async def ListCampaigns(self, request: Any, context: Any) -> Any:
        found, token = page_of(list(self.world.campaigns.values()), request)
        return campaign_pb2.ListCampaignsResponse(campaigns=found, next_page_token=token)

    async def GetCampaignFile(self, request: Any, context: Any) -> Any:
        return campaign_pb2.CampaignFile(
            name=request.name, version=request.version or 2, text=f"campaign: DRP1\n# {HOSTILE}\n"
        )

    async def StartCampaign(self, request: Any, context: Any) -> Any:
        campaign = await self._find(self.world.campaigns, request.name, context)
        if request.request_id in self.world.done:
            return campaign
        if campaign.state != campaign_pb2.Campaign.STATE_DRAFT:
            fault = Fault(
                grpc.StatusCode.FAILED_PRECONDITION,
                "STATE_REFUSED",
                f"Campaign {campaign.name} is RUNNING and cannot be started.",
                metadata=(("state", "RUNNING"), ("event", "start")),
            )
            await fail(context, fault)

        async def do() -> Any:
            await self.world.move(request.name, "RUNNING")
            return campaign

        return await self._once(request, do)

    async def CancelCampaign(self, request: Any, context: Any) -> Any:
        await self.world.move(request.name, "CANCELLED", request.reason)
        return self.world.campaigns[request.name]

    async def ListSteps(self, request: Any, context: Any) -> Any:
        await self._find(self.world.campaigns, request.parent, context)
        steps = [s for s in self.world.steps.values() if below(request.parent, s.name)]
        return step_pb2.ListStepsResponse(steps=steps)

    async def SignStep(self, request: Any, context: Any) -> Any:
        await self.world.move(request.name, "ACCEPTED", request.reason)
        return self.world.steps[request.name]

    async def ListGroups(self, request: Any, context: Any) -> Any:
        groups = [
            g
            for g in self.world.groups.values()
            if below(request.parent, g.name) and (not request.states or g.state in request.states)
        ]
        found, token = page_of(groups, request)
        return group_pb2.ListGroupsResponse(groups=found, next_page_token=token)

    async def GetGroup(self, request: Any, context: Any) -> Any:
        return await self._find(self.world.groups, request.name, context)

    async def RetryGroup(self, request: Any, context: Any) -> Any:
        await self._find(self.world.groups, request.name, context)

        async def do() -> Any:
            await self.world.move(request.name, "RUNNING", request.reason)
            return self.world.groups[request.name]

        return await self._once(request, do)

    async def AcceptGroup(self, request: Any, context: Any) -> Any:
        await self._find(self.world.groups, request.name, context)
        await self.world.move(request.name, "ACCEPTED", request.reason)
        return self.world.groups[request.name]

    async def ListJobs(self, request: Any, context: Any) -> Any:
        jobs = [
            j
            for j in self.world.jobs.values()
            if below(request.parent, j.name) and (not request.states or j.state in request.states)
        ]
        found, token = page_of(jobs, request)
        return job_pb2.ListJobsResponse(jobs=found, next_page_token=token)

    async def GetJob(self, request: Any, context: Any) -> Any:
        return await self._find(self.world.jobs, request.name, context)

    async def ReadLog(self, request: Any, context: Any) -> AsyncIterator[Any]:
        log = self.world.log
        offset = max(0, len(log) + request.offset) if request.offset < 0 else request.offset
        queue: asyncio.Queue[Fault] = asyncio.Queue()
        self.world.watchers.add(queue)
        try:
            for start in range(offset, len(log), 8):
                data = log[start : min(start + 8, len(log))]
                yield job_pb2.ReadLogResponse(offset=start, data=data, part="log", attempt=1)
            if request.follow and offset < len(log):
                await fail(context, await queue.get())
        finally:
            self.world.watchers.discard(queue)

    async def ListEvents(self, request: Any, context: Any) -> Any:
        events = [e for e in self.world.events if below(request.parent, e.name)]
        if request.newest_first:
            events.reverse()
        found, token = page_of(events, request)
        return event_pb2.ListEventsResponse(events=found, next_page_token=token)

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        world = self.world
        position = int(request.resume_token) if request.resume_token else len(world.events)
        if position < world.oldest:
            await fail(context, Fault(grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_TOO_OLD"))
        queue: asyncio.Queue[Fault] = asyncio.Queue()
        world.watchers.add(queue)
        try:
            yield event_pb2.WatchEventsResponse(resume_token=str(position))
            while True:
                batch = [e for e in world.events[position:] if below(request.parent, e.name)]
                position = len(world.events)
                if batch:
                    yield event_pb2.WatchEventsResponse(events=batch, resume_token=str(position))
                while position == len(world.events):
                    if not queue.empty():
                        await fail(context, queue.get_nowait())
                    async with world.changed:
                        await world.changed.wait()
        finally:
            world.watchers.discard(queue)

    async def ListFacilities(self, request: Any, context: Any) -> Any:
        facilities = list(self.world.facilities.values())
        return facility_pb2.ListFacilitiesResponse(facilities=facilities)

    async def GetFacility(self, request: Any, context: Any) -> Any:
        return await self._find(self.world.facilities, request.name, context)

    async def GetNexus(self, request: Any, context: Any) -> Any:
        gap = step_pb2.NexusGap(uuid="0" * 36, data_id=HOSTILE, reason=HOSTILE)
        fields: dict[str, Any] = {
            "movement": "keep",
            "source": "facilities/FrDF",
            "destination": "USDF_TAPE",
            "dataset_type": "deep_coadd_calexp",
            "made": 400_000,
            "sent": 400_000,
            "arrived": 399_999,
            "ingested": 399_990,
            "not_for_here": 9,
            "bytes": 2**41,
            "gap_count": 1,
        }
        group = f"{request.name}/groups/0000"
        entries = [
            step_pb2.NexusEntry(group=request.name, groups=3, **fields),
            step_pb2.NexusEntry(group=request.name, movement="purge", source="facilities/FrDF"),
            step_pb2.NexusEntry(
                group=group, job=f"{group}/jobs/keep-ingest", job_state="HELD", gaps=[gap], **fields
            ),
        ]
        return step_pb2.Nexus(name=request.name, entries=entries)

    async def DrainFacility(self, request: Any, context: Any) -> Any:
        facility = await self._find(self.world.facilities, request.name, context)
        facility.drained, facility.reason, facility.actor = True, request.reason, "pilot1"
        return facility

    async def GetDaemon(self, request: Any, context: Any) -> Any:
        return daemon_pb2.Daemon(version="1.0", accepting=True, database="sqlite")

    async def ListPlugins(self, request: Any, context: Any) -> Any:
        plugin = daemon_pb2.Plugin(plugin="local", version="1", api_version=1, brings=["driver x"])
        return daemon_pb2.ListPluginsResponse(plugins=[plugin])

    async def ExplainEntity(self, request: Any, context: Any) -> Any:
        return daemon_pb2.ExplainEntityResponse(
            name=request.name,
            state="HELD",
            summary=HOSTILE,
            actions=["cm release DRP1/coadd/0000"],
            waiting=[daemon_pb2.Waiting(kind="person", text="a decision")],
            story=self.world.events[-3:],
            placement=group_pb2.Placement(
                facility="facilities/USDF",
                algorithm="balanced",
                factors=[group_pb2.PlacementFactor(facility="USDF", name="load", value=0.5)],
            ),
            what_if=group_pb2.Placement(
                factors=[
                    group_pb2.PlacementFactor(
                        facility=name, name="up", passed=False, detail=HOSTILE
                    )
                    for name in ("USDF", "FrDF", "UKDF")
                ]
            ),
        )


class Faults(grpc.aio.ServerInterceptor):
    """Writes every call down and carries out the faults that were ordered."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of a call."""
        handler = await continuation(details)
        method = details.method.rpartition("/")[2]
        metadata = dict(details.invocation_metadata)

        async def unary(request: Any, context: Any) -> Any:
            self.world.calls.append((method, metadata, request))
            fault = self.world.faults[method].popleft() if self.world.faults[method] else None
            if fault and fault.passes:
                fault = None
            if fault and not fault.after:
                await fail(context, fault)
            answer = await handler.unary_unary(request, context)
            if fault:
                await fail(context, fault)
            return answer

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            self.world.calls.append((method, metadata, request))
            if self.world.faults[method]:
                await fail(context, self.world.faults[method].popleft())
            async for answer in handler.unary_stream(request, context):
                yield answer

        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(unary, **codecs)
        return grpc.unary_stream_rpc_method_handler(stream, **codecs)


class FakeDaemon:
    """The world served at a Unix socket from a thread of its own."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.address = f"unix:{socket}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-daemon")
        self._thread.start()
        self._server: grpc.aio.Server | None = None
        self.world = self._do(self._make_world())
        self.start()

    async def _make_world(self) -> World:
        return World()

    def _do(self, task: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(task, self._loop)
        return future.result(timeout=20)

    def start(self) -> None:
        """Listen."""

        async def start() -> None:
            server = grpc.aio.server(interceptors=[Faults(self.world)])
            services = Services(self.world)
            campaign_pb2_grpc.add_CampaignServiceServicer_to_server(services, server)
            step_pb2_grpc.add_StepServiceServicer_to_server(services, server)
            group_pb2_grpc.add_GroupServiceServicer_to_server(services, server)
            job_pb2_grpc.add_JobServiceServicer_to_server(services, server)
            event_pb2_grpc.add_EventServiceServicer_to_server(services, server)
            facility_pb2_grpc.add_FacilityServiceServicer_to_server(services, server)
            daemon_pb2_grpc.add_DaemonServiceServicer_to_server(services, server)
            server.add_insecure_port(self.address)
            await server.start()
            self._server = server

        self._do(start())

    def stop(self) -> None:
        """Vanish without a word to anyone."""

        async def stop() -> None:
            if self._server is not None:
                await self._server.stop(None)
                self._server = None

        self._do(stop())

    def close(self) -> None:
        """End the thread too."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=20)
        self._loop.close()

    def move(self, name: str, state: str, reason: str = "") -> None:
        """Put an entity into a state."""
        self._do(self.world.move(name, state, reason))

    def end_watches(self, code: grpc.StatusCode, reason: str = "") -> None:
        """End every open stream with this status."""

        async def end() -> None:
            for queue in self.world.watchers:
                queue.put_nowait(Fault(code, reason))
            async with self.world.changed:
                self.world.changed.notify_all()

        self._do(end())

    def count_calls(self, method: str) -> int:
        """How often a method was called."""
        return sum(called == method for called, _, _ in self.world.calls)
