"""FacilityService."""

import hashlib

from cmd_api.v1 import facility_pb2 as pb
from cmd_api.v1 import facility_pb2_grpc
from cmd_daemon.api.errors import not_found
from cmd_daemon.api.names import parse_facility
from cmd_daemon.api.service import Context, Room, actor_of, check_command
from cmd_daemon.api.shapes import stamp
from cmd_daemon.kernel import events as ev


class FacilityService(facility_pb2_grpc.FacilityServiceServicer):
    """Look at facilities, drain and undrain them."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetFacility(self, request: pb.GetFacilityRequest, context: Context) -> pb.Facility:
        return self._facility(parse_facility(request.name))

    async def ListFacilities(
        self, request: pb.ListFacilitiesRequest, context: Context
    ) -> pb.ListFacilitiesResponse:
        return pb.ListFacilitiesResponse(
            facilities=[self._facility(name) for name in self._room.facilities]
        )

    async def DrainFacility(
        self, request: pb.DrainFacilityRequest, context: Context
    ) -> pb.Facility:
        return await self._command(request, context, drained=True)

    async def UndrainFacility(
        self, request: pb.UndrainFacilityRequest, context: Context
    ) -> pb.Facility:
        return await self._command(request, context, drained=False)

    async def _command(
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

    def _facility(self, name: str) -> pb.Facility:
        info = self._room.facilities.get(name)
        if info is None:
            raise not_found(f"facilities/{name}")
        engine = self._room.engine
        state = engine.drained.get(name)
        now = self._room.clock.now()
        facility = pb.Facility(
            name=f"facilities/{name}",
            slots=info.slots,
            memory=info.memory,
            cores=info.cores,
            walltime=info.walltime_s,
            butlers=info.butlers,
            stacks=sorted(info.stacks),
        )
        if state is not None:
            facility.drained = state.drained
            facility.reason = state.reason
            facility.actor = state.actor
            facility.drain_time.FromMicroseconds(state.at)
        for lane in engine.lanes.lanes.values():
            if lane.facility != name:
                continue
            facility.running += len(lane.flying)
            facility.queued += len(lane.queue)
            facility.drivers.add(
                driver=lane.name,
                breaker=lane.breaker.state(now) if lane.started else "open",
                message=lane.breaker.message,
                in_flight=len(lane.flying),
                ready=len(lane.queue),
                last_success_time=stamp(lane.breaker.last_success),
                limit=lane.limit,
            )
        fixed = f"{facility.drained}{facility.reason}{info}"
        facility.etag = hashlib.sha256(fixed.encode()).hexdigest()[:16]
        return facility
