"""FacilityService."""

import hashlib
import math
from collections.abc import Iterator

from cmd_api.v1 import facility_pb2 as pb
from cmd_api.v1 import facility_pb2_grpc
from cmd_daemon.api.errors import invalid, not_found
from cmd_daemon.api.names import parse_facility
from cmd_daemon.api.service import Context, Room, actor_of, check_command, check_etag
from cmd_daemon.api.shapes import stamp
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.engine.limits import Limits
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.states import FINAL_GROUP, GroupState

MOST_SLOTS = 1_000_000
MOST_MEMORY = 2**50
MOST_CORES = 100_000
MOST_WALLTIME_S = 10 * 365 * 86_400.0


class FacilityService(facility_pb2_grpc.FacilityServiceServicer):
    """Look at facilities, drain them, change their limits, stop and revive them."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetFacility(self, request: pb.GetFacilityRequest, context: Context) -> pb.Facility:
        name = parse_facility(request.name)
        facility = self._facility(name)
        for row in await self._room.reader.facility_load(name):
            counts = row.counts
            facility.load.add(
                step=f"campaigns/{row.campaign}/steps/{row.step}",
                placed=counts.get(GroupState.PLACED, 0),
                running=counts.get(GroupState.RUNNING, 0),
                held=counts.get(GroupState.HELD, 0) + counts.get(GroupState.REVIEW, 0),
                finished=sum(n for state, n in counts.items() if state in FINAL_GROUP),
            )
        return facility

    async def ListFacilities(
        self, request: pb.ListFacilitiesRequest, context: Context
    ) -> pb.ListFacilitiesResponse:
        return pb.ListFacilitiesResponse(
            facilities=[self._facility(name) for name in self._room.facilities]
        )

    async def DrainFacility(
        self, request: pb.DrainFacilityRequest, context: Context
    ) -> pb.Facility:
        return await self._drain(request, context, drained=True)

    async def UndrainFacility(
        self, request: pb.UndrainFacilityRequest, context: Context
    ) -> pb.Facility:
        return await self._drain(request, context, drained=False)

    async def _drain(
        self,
        request: pb.DrainFacilityRequest | pb.UndrainFacilityRequest,
        context: Context,
        drained: bool,
    ) -> pb.Facility:
        check_command(request)
        name = parse_facility(request.name)
        now = self._facility(name)
        method = "Drain" if drained else "Undrain"
        if not await self._room.repeated(request, method) and now.drained is not drained:
            event = ev.FacilityDrained(
                facility=name,
                drained=drained,
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, method)
        return self._facility(name)

    async def UpdateFacility(
        self, request: pb.UpdateFacilityRequest, context: Context
    ) -> pb.Facility:
        check_command(request)
        name = parse_facility(request.name)
        now = self._facility(name)
        limits = self._limits(name, request.limits)
        if limits == Limits() and not request.reset:
            raise invalid("limits", "say which limits to change, or reset them")
        if not await self._room.repeated(request, "UpdateFacility"):
            check_etag(request.etag, now.etag, request.name)
            former = self._room.engine.live.limits_edited(name)
            changed = limits if request.reset else limits.over(former)
            event = ev.FacilityLimited(
                facility=name,
                former=former.text(),
                limits=changed.text(),
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, "UpdateFacility")
        return self._facility(name)

    async def KillFacility(self, request: pb.KillFacilityRequest, context: Context) -> pb.Facility:
        name = self._known(request)
        check_command(request, needs_reason=True)
        if not await self._room.repeated(request, "KillFacility"):
            event = ev.FacilityKilled(
                facility=name,
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, "KillFacility")
        return self._facility(name)

    async def ReviveFacility(
        self, request: pb.ReviveFacilityRequest, context: Context
    ) -> pb.Facility:
        name = self._known(request)
        check_command(request)
        if not await self._room.repeated(request, "ReviveFacility"):
            event = ev.FacilityRevived(
                facility=name,
                retry=request.retry,
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, "ReviveFacility")
        return self._facility(name)

    def _known(self, request: pb.KillFacilityRequest | pb.ReviveFacilityRequest) -> str:
        name = parse_facility(request.name)
        if name not in self._room.facilities:
            raise not_found(f"facilities/{name}")
        return name

    def _limits(self, name: str, given: pb.FacilityLimits) -> Limits:
        """The limits of a request. Raises ApiError naming the first field that cannot be."""
        for field, value, least, most in _numbers(given):
            if not (math.isfinite(value) and least <= value <= most):
                raise invalid(f"limits.{field}", f"must be {least} to {most}, not {value}")
        drivers = [lane.name for lane in self._lanes(name)]
        queues = [queue.name for queue in self._room.facilities[name].queues]
        for field, keys, known in (
            ("lanes", given.lanes, drivers),
            ("queues", given.queues, queues),
        ):
            for key in keys:
                if key not in known:
                    there = ", ".join(known) or "none"
                    raise invalid(
                        f"limits.{field}", f"{name} has no {key[:200]!r}; there are: {there}"
                    )
        return Limits(
            slots=given.slots if given.HasField("slots") else None,
            memory=given.memory if given.HasField("memory") else None,
            cores=given.cores if given.HasField("cores") else None,
            walltime_s=given.walltime if given.HasField("walltime") else None,
            lanes=dict(given.lanes),
            queues=dict(given.queues),
        )

    def _lanes(self, name: str) -> list[Lane]:
        return [lane for lane in self._room.engine.lanes.lanes.values() if lane.facility == name]

    def _facility(self, name: str) -> pb.Facility:
        info = self._room.facilities.get(name)
        if info is None:
            raise not_found(f"facilities/{name}")
        engine = self._room.engine
        live = engine.live
        state = engine.view.facilities.get(name)
        now = self._room.clock.now()
        up, reason = live.up(name)
        running, queued = live.load(name)
        facility = pb.Facility(
            name=f"facilities/{name}",
            slots=info.slots,
            memory=info.memory,
            cores=info.cores,
            walltime=info.walltime_s,
            running=running,
            queued=queued,
            butlers=info.butlers,
            stacks=sorted(info.stacks),
            transport=info.transport,
            up=up,
            down_reason=reason,
            edited=_limits_message(live.limits_edited(name)),
            ending=live.ending(name),
        )
        if state is not None:
            facility.drained = state.drained
            facility.killed = state.killed
            facility.reason = state.reason
            facility.actor = state.actor
            if state.actor:
                facility.drain_time.FromMicroseconds(state.at)
        for lane in self._lanes(name):
            facility.drivers.add(
                driver=lane.name,
                breaker=lane.breaker.state(now) if lane.started else "open",
                message=lane.breaker.message,
                in_flight=len(lane.flying),
                ready=lane.ready,
                last_success_time=stamp(lane.breaker.last_success),
                limit=lane.limit,
            )
        for queue in live.queues(name):
            facility.queues.add(
                queue=queue.name,
                slots=queue.slots,
                memory=queue.memory,
                cores=queue.cores,
                walltime=queue.walltime_s,
                running=queue.running,
                ready=queue.queued,
            )
        for element, at in live.storage_seen(name):
            facility.storage.add(
                element=element.name,
                path=element.path,
                free=element.free_bytes,
                total=element.total_bytes,
                message=element.message,
                look_time=stamp(at),
            )
        for check, at in live.checks_seen(name):
            facility.checks.add(
                check=check.name,
                ok=check.ok,
                message=check.message,
                vital=check.vital,
                look_time=stamp(at),
            )
        fixed = f"{state}{info}"
        facility.etag = hashlib.sha256(fixed.encode()).hexdigest()[:16]
        return facility


def _numbers(given: pb.FacilityLimits) -> Iterator[tuple[str, float, float, float]]:
    """The numbers that are said, each with its name, its least and its most."""
    if given.HasField("slots"):
        yield "slots", given.slots, 1, MOST_SLOTS
    if given.HasField("memory"):
        yield "memory", given.memory, 1, MOST_MEMORY
    if given.HasField("cores"):
        yield "cores", given.cores, 1, MOST_CORES
    if given.HasField("walltime"):
        yield "walltime", given.walltime, 1, MOST_WALLTIME_S
    for key, slots in given.lanes.items():
        yield f"lanes.{key[:200]}", slots, 1, MOST_SLOTS
    for key, slots in given.queues.items():
        yield f"queues.{key[:200]}", slots, 0, MOST_SLOTS


def _limits_message(limits: Limits) -> pb.FacilityLimits:
    return pb.FacilityLimits(
        slots=limits.slots,
        memory=limits.memory,
        cores=limits.cores,
        walltime=limits.walltime_s,
        lanes=limits.lanes,
        queues=limits.queues,
    )
