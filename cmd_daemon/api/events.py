"""EventService."""

from collections.abc import AsyncIterator, Sequence

import grpc

from cmd_api.v1 import event_pb2 as pb
from cmd_api.v1 import event_pb2_grpc
from cmd_daemon.api import names, paging
from cmd_daemon.api.errors import ApiError, invalid
from cmd_daemon.api.names import Path
from cmd_daemon.api.service import Context, Room
from cmd_daemon.api.shapes import event_message
from cmd_daemon.kernel.records import Record
from cmd_daemon.observe import metrics

HEARTBEAT_S = 10.0
BATCH = 1000
KINDS = ("campaign", "step", "group", "job", "facility", "schedule")


class EventService(event_pb2_grpc.EventServiceServicer):
    """The history, and its continuation."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        size = paging.page_size(request.page_size)
        kinds = _kinds(request.kinds)
        question = f"events:{request.parent}:{kinds}:{request.newest_first}"
        after = paging.after(question, request.page_token)
        ids: dict[str, int] = {}
        for collection, kind in (("facilities/", "facility"), ("schedules/", "schedule")):
            if request.parent.startswith(collection):
                raise invalid("parent", f"events of a {kind} are listed with kinds=[{kind}]")
        if request.parent:
            ids = await self._ids(request.parent)
        rows = await self._room.reader.events(
            after, size, kinds=kinds, backwards=request.newest_first, **ids
        )
        response = pb.ListEventsResponse(events=[event_message(row) for row in rows])
        if len(rows) == size:
            response.next_page_token = paging.token(question, rows[-1].seq)
        return response

    async def _ids(self, name: str) -> dict[str, int]:
        path = names.parse(name, 1, 2, 3, 4)
        match path.depth:
            case 1:
                return {"campaign_id": (await self._room.campaign(name)).campaign.id}
            case 2:
                return {"step_id": (await self._room.step(name)).step.id}
            case 3:
                return {"group_id": (await self._room.group(name)).group.id}
            case _:
                row = await self._room.job(name)
                return {"group_id": row.job.group_id, "job_id": row.job.id}

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        kinds = _kinds(request.kinds)
        if request.parent.startswith("facilities/"):
            names.parse_facility(request.parent)
        elif request.parent.startswith("schedules/"):
            names.parse_schedule_name(request.parent)
        elif request.parent:
            path: Path = names.parse(request.parent, 1, 2, 3, 4)
            await self._ids(str(path))
        feed = self._room.engine.feed
        seq = _resume(request.resume_token, feed.last_seq)
        metrics.watchers.inc()
        try:
            # The first answer comes at once: the caller knows from which point on it is told.
            yield pb.WatchEventsResponse(resume_token=str(seq))
            while True:
                if feed.ended:
                    raise ApiError(
                        grpc.StatusCode.UNAVAILABLE,
                        "NOT_ACCEPTING",
                        "the daemon stops; watch again from the resume token when it is back.",
                    )
                records = await feed.after(seq, BATCH)
                if not records:
                    if not await feed.wait(seq, HEARTBEAT_S):
                        yield pb.WatchEventsResponse(resume_token=str(seq))
                    continue
                seq = records[-1].seq
                wanted = _matching(records, request.parent, kinds)
                if wanted:
                    yield pb.WatchEventsResponse(
                        events=[event_message(record) for record in wanted], resume_token=str(seq)
                    )
        finally:
            metrics.watchers.dec()


def _matching(records: Sequence[Record], parent: str, kinds: Sequence[str]) -> list[Record]:
    below = f"{parent}/"
    return [
        record
        for record in records
        if (not kinds or record.kind in kinds)
        and (not parent or record.name == parent or record.name.startswith(below))
    ]


def _kinds(asked: Sequence[str]) -> tuple[str, ...]:
    for kind in asked:
        if kind not in KINDS:
            raise invalid("kinds", f"{kind!r} is none of {', '.join(KINDS)}")
    return tuple(sorted(set(asked)))


def _resume(token: str, last_seq: int) -> int:
    if not token:
        return last_seq
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise invalid("resume_token", "is not one of this daemon")
    if int(token) > last_seq:
        raise ApiError(
            grpc.StatusCode.OUT_OF_RANGE,
            "RESUME_TOKEN_TOO_OLD",
            "the history this token belongs to is gone: list again, then watch without a token.",
        )
    return int(token)
