"""Calls about who called what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

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
        since: datetime | None = None,
        refused: bool = False,
        page_size: int = 1000,
    ) -> Call[pb.ListAuditResponse]:
        """The calls that named an entity or what is below it, all if no parent is given; newest first."""
        return _page(parent, who, since, refused, page_size, "")

    @rpc
    def list_audit(
        self,
        parent: str = "",
        *,
        who: str = "",
        since: datetime | None = None,
        refused: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Call[pb.ListAuditResponse]:
        """One page of calls: of this caller, since this time (with a time zone), only refused ones."""
        return _page(parent, who, since, refused, page_size, page_token)


def _page(
    parent: str, who: str, since: datetime | None, refused: bool, size: int, token: str
) -> Call[pb.ListAuditResponse]:
    request = pb.ListAuditRequest(
        parent=parent, who=who, refused=refused, page_size=size, page_token=token
    )
    if since is not None:
        request.start_time.FromDatetime(since)
    return Call("AuditService/ListAudit", request, pb.ListAuditResponse)
