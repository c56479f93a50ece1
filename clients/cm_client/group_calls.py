"""Calls about groups."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1 import group_pb2 as pb

from .call import Call, change, paged, rpc

PAGE = 1000


def _groups(page: pb.ListGroupsResponse) -> Iterable[pb.Group]:
    return page.groups


class GroupCalls:
    """The methods of GroupService."""

    @rpc
    def get_group(self, name: str) -> Call[pb.Group]:
        """One group. Raises NotFound."""
        return Call("GroupService/GetGroup", pb.GetGroupRequest(name=name), pb.Group)

    @paged(_groups)
    def groups(
        self,
        parent: str,
        *,
        states: Iterable[pb.Group.State.ValueType] = (),
        facility: str = "",
        prefix: str = "",
        page_size: int = PAGE,
    ) -> Call[pb.ListGroupsResponse]:
        """All groups of a campaign or a step, in the order they were made. Raises NotFound."""
        request = pb.ListGroupsRequest(
            parent=parent, page_size=page_size, states=states, facility=facility, prefix=prefix
        )
        return Call("GroupService/ListGroups", request, pb.ListGroupsResponse)

    @rpc
    def list_groups(
        self,
        parent: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        states: Iterable[pb.Group.State.ValueType] = (),
        facility: str = "",
        prefix: str = "",
    ) -> Call[pb.ListGroupsResponse]:
        """One page of groups. Raises NotFound."""
        request = pb.ListGroupsRequest(
            parent=parent,
            page_size=page_size,
            page_token=page_token,
            states=states,
            facility=facility,
            prefix=prefix,
        )
        return Call("GroupService/ListGroups", request, pb.ListGroupsResponse)

    @rpc
    def list_placements(self, parent: str) -> Call[pb.ListPlacementsResponse]:
        """Every placement decision of a group, newest first. Raises NotFound."""
        request = pb.ListPlacementsRequest(parent=parent)
        return Call("GroupService/ListPlacements", request, pb.ListPlacementsResponse)

    @rpc
    def retry_group(
        self,
        name: str,
        *,
        mode: pb.RetryMode.ValueType = pb.RETRY_MODE_UNSPECIFIED,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Group]:
        """A new attempt of the group's current job. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.RetryGroupRequest(name=name, mode=mode, reason=reason, etag=etag)
        return change("GroupService/RetryGroup", request, pb.Group, request_id)

    @rpc
    def accept_group(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Group]:
        """Take a group with its losses. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.AcceptGroupRequest(name=name, reason=reason, etag=etag)
        return change("GroupService/AcceptGroup", request, pb.Group, request_id)

    @rpc
    def reject_group(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Group]:
        """Leave a group out for good. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.RejectGroupRequest(name=name, reason=reason, etag=etag)
        return change("GroupService/RejectGroup", request, pb.Group, request_id)

    @rpc
    def hold_group(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Group]:
        """Submit nothing more for the group. Raises NotFound, StateRefused, EtagMismatch."""
        request = pb.HoldGroupRequest(name=name, reason=reason, etag=etag)
        return change("GroupService/HoldGroup", request, pb.Group, request_id)

    @rpc
    def release_group(
        self,
        name: str,
        *,
        reason: str = "",
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.Group]:
        """Take a hold back; look an uncertain job up.

        Raises NotFound, StateRefused, EtagMismatch.
        """
        request = pb.ReleaseGroupRequest(name=name, reason=reason, etag=etag)
        return change("GroupService/ReleaseGroup", request, pb.Group, request_id)

    @rpc
    def move_group(
        self,
        name: str,
        facility: str,
        *,
        reason: str = "",
        validate_only: bool = False,
        etag: str = "",
        request_id: str | None = None,
    ) -> Call[pb.MoveGroupResponse]:
        """Place a group by hand at facilities/{facility}; with `validate_only` only tell what it costs.

        Raises NotFound, StateRefused, EtagMismatch, InvalidArgument.
        """
        request = pb.MoveGroupRequest(
            name=name, facility=facility, reason=reason, validate_only=validate_only, etag=etag
        )
        return change("GroupService/MoveGroup", request, pb.MoveGroupResponse, request_id)
