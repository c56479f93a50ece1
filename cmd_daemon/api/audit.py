"""AuditService."""

from cmd_api.v1 import audit_pb2 as pb
from cmd_api.v1 import audit_pb2_grpc
from cmd_daemon.api import paging
from cmd_daemon.api.names import parse, parse_facility, parse_schedule_name
from cmd_daemon.api.service import Context, Room, micros
from cmd_daemon.api.shapes import stamp
from cmd_daemon.kernel.records import AuditRow


class AuditService(audit_pb2_grpc.AuditServiceServicer):
    """Who called what."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def ListAudit(
        self, request: pb.ListAuditRequest, context: Context
    ) -> pb.ListAuditResponse:
        size = paging.page_size(request.page_size)
        since = micros("start_time", request.start_time)
        question = f"audit:{request.parent}:{request.who}:{since}:{request.refused}"
        before = paging.after(question, request.page_token)
        campaign = ""
        if request.parent.startswith("facilities/"):
            parse_facility(request.parent)
        elif request.parent.startswith("schedules/"):
            parse_schedule_name(request.parent)
        elif request.parent:
            campaign = parse(request.parent, 1, 2, 3, 4).campaign
            await self._room.campaign(f"campaigns/{campaign}")
        rows = await self._room.reader.audits(
            before, size, campaign, request.parent, request.who, since, request.refused
        )
        response = pb.ListAuditResponse(entries=[_entry(ident, row) for ident, row in rows])
        if len(rows) == size:
            response.next_page_token = paging.token(question, rows[-1][0])
        return response


def _entry(ident: int, row: AuditRow) -> pb.AuditEntry:
    return pb.AuditEntry(
        id=ident,
        time=stamp(row.at),
        who=row.who,
        proof=row.proof,
        peer=row.peer,
        method=row.method,
        name=row.name,
        reason=row.reason,
        request_id=row.request_id,
        before=row.before,
        after=row.after,
        detail=row.detail or "",
        result=row.result,
        message=row.message,
    )
