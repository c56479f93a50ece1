"""Calls about who called what."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from cmd_api.v1 import audit_pb2 as pb

from .call import Call, paged, rpc


def _entries(page: pb.ListAuditResponse) -> Iterable[pb.AuditEntry]:
    return page.entries


class AuditCalls:
    """The methods of AuditService."""

    @paged(_entries)
    def audit(
        self,
        parent: str = "",
        *,
        who: str = "",
        start_time: Timestamp | None = None,
        refused: bool = False,
        page_size: int = 1000,
    ) -> Call[pb.ListAuditResponse]:
        """The calls that named an entity or what is below it, all if no parent is given; newest first."""
        return _page(parent, who, start_time, refused, page_size, "")

    @rpc
    def list_audit(
        self,
        parent: str = "",
        *,
        who: str = "",
        start_time: Timestamp | None = None,
        refused: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Call[pb.ListAuditResponse]:
        """One page of calls: of this caller, at this time or later, only refused ones."""
        return _page(parent, who, start_time, refused, page_size, page_token)


def _page(
    parent: str, who: str, start_time: Timestamp | None, refused: bool, size: int, token: str
) -> Call[pb.ListAuditResponse]:
    request = pb.ListAuditRequest(
        parent=parent,
        who=who,
        start_time=start_time,
        refused=refused,
        page_size=size,
        page_token=token,
    )
    return Call("AuditService/ListAudit", request, pb.ListAuditResponse)
