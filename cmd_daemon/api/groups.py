"""GroupService."""

from typing import Any

from cmd_api.v1 import group_pb2 as pb
from cmd_api.v1 import group_pb2_grpc
from cmd_daemon.api import paging
from cmd_daemon.api.errors import invalid
from cmd_daemon.api.moves import look_at_move, refused_final
from cmd_daemon.api.names import parse_facility
from cmd_daemon.api.service import (
    Context,
    Room,
    actor_of,
    check_command,
    check_etag,
    state_names,
)
from cmd_daemon.api.shapes import group_message, placement_message
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.states import FINAL_GROUP, GroupState

_MODES = {
    pb.RETRY_MODE_UNSPECIFIED: "",
    pb.RETRY_MODE_MISSING_ONLY: "missing-only",
    pb.RETRY_MODE_FROM_START: "from-start",
}


class GroupService(group_pb2_grpc.GroupServiceServicer):
    """Look at groups, and decide about them."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetGroup(self, request: pb.GetGroupRequest, context: Context) -> pb.Group:
        return group_message(await self._room.group(request.name))

    async def ListGroups(
        self, request: pb.ListGroupsRequest, context: Context
    ) -> pb.ListGroupsResponse:
        path = await self._room.parent(request.parent, 1, 2)
        size = paging.page_size(request.page_size)
        states = {
            GroupState(state) for state in state_names(pb.Group.State.DESCRIPTOR, request.states)
        }
        question = f"groups:{path}:{sorted(states)}:{request.facility}:{request.prefix}"
        rows = await self._room.reader.list_groups(
            path.campaign,
            path.step or None,
            states,
            request.facility or None,
            request.prefix,
            size,
            paging.after(question, request.page_token),
        )
        response = pb.ListGroupsResponse(groups=[group_message(row) for row in rows])
        if len(rows) == size:
            response.next_page_token = paging.token(question, rows[-1].group.id)
        return response

    async def RetryGroup(self, request: pb.RetryGroupRequest, context: Context) -> pb.Group:
        mode = _MODES.get(request.mode)
        if mode is None:
            raise invalid("mode", f"{request.mode} is no way to retry")
        return await self._command(request, context, ev.GroupRetried, "Retry", mode=mode)

    async def AcceptGroup(self, request: pb.AcceptGroupRequest, context: Context) -> pb.Group:
        return await self._command(request, context, ev.GroupAccepted, "Accept", needs_reason=True)

    async def RejectGroup(self, request: pb.RejectGroupRequest, context: Context) -> pb.Group:
        return await self._command(request, context, ev.GroupRejected, "Reject", needs_reason=True)

    async def HoldGroup(self, request: pb.HoldGroupRequest, context: Context) -> pb.Group:
        return await self._command(request, context, ev.GroupHeld, "Hold")

    async def ReleaseGroup(self, request: pb.ReleaseGroupRequest, context: Context) -> pb.Group:
        return await self._command(request, context, ev.GroupReleased, "Release")

    async def ListPlacements(
        self, request: pb.ListPlacementsRequest, context: Context
    ) -> pb.ListPlacementsResponse:
        row = await self._room.group(request.parent)
        rows = await self._room.reader.placements(row.group.id)
        return pb.ListPlacementsResponse(
            placements=[placement_message(each) for each in reversed(rows)]
        )

    async def MoveGroup(
        self, request: pb.MoveGroupRequest, context: Context
    ) -> pb.MoveGroupResponse:
        check_command(request, needs_reason=not request.validate_only)
        row = await self._room.group(request.name)
        facility = parse_facility(request.facility)
        method = "Move"
        if not request.validate_only and await self._room.repeated(request, method):
            return pb.MoveGroupResponse(group=group_message(row))
        check_etag(request.etag, str(row.group.version), request.name)
        if row.group.state in FINAL_GROUP:
            raise refused_final(request.name, row.group.state, "GroupMoved")
        look = await look_at_move(self._room, row, facility)
        if not request.validate_only:
            look.check(request.name, facility)
            event = ev.GroupMoved(
                group_id=row.group.id,
                facility=facility,
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, method)
            row = await self._room.group(request.name)
        return pb.MoveGroupResponse(
            group=group_message(row), cost=look.cost, placement=look.placement
        )

    async def _command(
        self,
        request: Any,
        context: Context,
        event: type[ev.GroupEvent],
        method: str,
        needs_reason: bool = False,
        **more: str,
    ) -> pb.Group:
        check_command(request, needs_reason)
        row = await self._room.group(request.name)
        if not await self._room.repeated(request, method):
            check_etag(request.etag, str(row.group.version), request.name)
            if row.group.state in FINAL_GROUP:
                raise refused_final(request.name, row.group.state, event.__name__)
            await self._room.ask(
                event(
                    group_id=row.group.id,
                    actor=actor_of(context),
                    reason=request.reason,
                    request_id=request.request_id,
                    **more,
                ),
                request,
                method,
            )
        return group_message(await self._room.group(request.name))
