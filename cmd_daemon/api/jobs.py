"""JobService."""

from collections.abc import AsyncIterator

import grpc

from cmd_api.v1 import job_pb2 as pb
from cmd_api.v1 import job_pb2_grpc
from cmd_daemon.api import paging
from cmd_daemon.api.errors import ApiError, invalid, not_found
from cmd_daemon.api.moves import refused_final
from cmd_daemon.api.names import Path, parse
from cmd_daemon.api.service import (
    Context,
    Room,
    actor_of,
    check_command,
    check_etag,
    state_names,
)
from cmd_daemon.api.shapes import attempt_message, job_message, stamp
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.hooks.ports import DriverError, JobRef, Part
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command, Value
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.records import JobRow
from cmd_daemon.kernel.states import IN_FLIGHT_JOB, JobKind, JobState
from cmd_daemon.spec import key

QUEUE_LENGTH = 200


class JobService(job_pb2_grpc.JobServiceServicer):
    """Look at jobs, their attempts, parts and logs; command attempts that are outside."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.Job:
        return job_message(await self._room.job(request.name))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        path = await self._room.parent(request.parent, 1, 2, 3)
        size = paging.page_size(request.page_size)
        states = {JobState(state) for state in state_names(pb.Job.State.DESCRIPTOR, request.states)}
        if request.kind and request.kind not in set(JobKind):
            raise invalid("kind", f"{request.kind!r} is none of {', '.join(JobKind)}")
        kind = JobKind(request.kind) if request.kind else None
        question = f"jobs:{path}:{sorted(states)}:{request.facility}:{kind}"
        rows = await self._room.reader.list_jobs(
            path.campaign,
            path.step or None,
            path.group or None,
            states,
            request.facility or None,
            kind,
            size,
            paging.after(question, request.page_token),
        )
        response = pb.ListJobsResponse(jobs=[job_message(row) for row in rows])
        if len(rows) == size:
            response.next_page_token = paging.token(question, rows[-1].job.id)
        return response

    async def ListAttempts(
        self, request: pb.ListAttemptsRequest, context: Context
    ) -> pb.ListAttemptsResponse:
        row = await self._room.job(request.parent)
        job = row.job
        rows = await self._room.reader.attempts(job.id)
        response = pb.ListAttemptsResponse(attempts=[attempt_message(each) for each in rows])
        if job.state in IN_FLIGHT_JOB:
            response.attempts.add(
                number=job.attempt,
                state=job.state,
                mode=job.mode,
                facility=f"facilities/{job.facility}",
                driver=job.driver,
                ref=job.ref or "",
                submit_time=stamp(job.submitted_at),
                start_time=stamp(job.started_at),
                message=job.reason or "",
            )
        return response

    async def ListParts(
        self, request: pb.ListPartsRequest, context: Context
    ) -> pb.ListPartsResponse:
        row = await self._room.job(request.parent)
        lane, ref, attempt = await self._attempt(row, request.attempt)
        parts = await self._parts(lane, ref)
        return pb.ListPartsResponse(
            attempt=attempt,
            parts=[
                pb.Part(
                    part=part.name,
                    kind=part.kind,
                    state=part.state,
                    counts=part.counts,
                    message=part.message[:2000],
                    link=part.link,
                    log=part.log,
                )
                for part in parts[:1000]
            ],
        )

    async def ReadLog(
        self, request: pb.ReadLogRequest, context: Context
    ) -> AsyncIterator[pb.ReadLogResponse]:
        row = await self._room.job(request.name)
        lane, ref, attempt = await self._attempt(row, request.attempt)
        part = request.part
        if not part:
            logs = [each.name for each in await self._parts(lane, ref) if each.log]
            if not logs:
                raise not_found(f"log of {request.name}, attempt {attempt}")
            part = logs[0]
        try:
            async for chunk in lane.driver.read_log(ref, part, request.offset, request.follow):
                yield pb.ReadLogResponse(
                    offset=chunk.offset, data=chunk.data, part=part, attempt=attempt
                )
                if chunk.end:
                    return
        except DriverError as error:
            raise _driver_error(error, request.name) from error

    async def ControlJob(self, request: pb.ControlJobRequest, context: Context) -> pb.Job:
        row, etag = await self._meant(request.name)
        wants = self._wants(request, row)
        check_command(request, needs_reason=any(value is not None for _, value in wants))
        name = str(Path(row.campaign, row.step_name, row.group_name, row.job.name))
        if not await self._room.repeated(request, "ControlJob"):
            check_etag(request.etag, etag, request.name)
            if row.job.id not in self._room.engine.view.jobs:
                raise refused_final(name, row.job.state, "JobCommanded")
            event = ev.JobCommanded(
                job_id=row.job.id,
                attempt=row.job.attempt,
                wants=wants,
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, "ControlJob")
        return job_message(await self._room.job(name))

    async def _meant(self, name: str) -> tuple[JobRow, str]:
        """The job that is meant, and the etag of what was named: the job, or the group that is at it."""
        path = parse(name, 3, 4)
        if path.depth == 4:
            row = await self._room.job(name)
            return row, str(row.job.version)
        group = (await self._room.group(name)).group
        rows = await self._room.reader.list_jobs(path.campaign, path.step, path.group, limit=1000)
        at = group.jobs[group.cursor]
        return next(row for row in rows if row.job.id == at), str(group.version)

    def _wants(
        self, request: pb.ControlJobRequest, row: JobRow
    ) -> tuple[tuple[Command, Value], ...]:
        """The commands of a request. Raises ApiError naming the first field that cannot be."""
        wants: list[tuple[Command, Value]] = []
        if request.HasField("paused"):
            wants.append((Command.PAUSE if request.paused else Command.RESUME, None))
        if request.HasField("priority"):
            wants.append((Command.PRIORITY, request.priority))
        if request.HasField("memory"):
            info = self._room.facilities.get(row.job.facility)
            if request.memory < 1:
                raise invalid("memory", f"must be at least 1 byte, not {request.memory}")
            if info is not None and request.memory > info.memory:
                most = f"a job at {info.name} may have {info.memory} bytes"
                raise invalid("memory", f"{most}, not {request.memory}")
            wants.append((Command.MEMORY, request.memory))
        if request.HasField("queue"):
            queue = request.queue
            if not (queue.strip() and queue.isprintable() and len(queue) <= QUEUE_LENGTH):
                raise invalid("queue", f"{queue[:QUEUE_LENGTH]!r} is no name of a queue")
            wants.append((Command.QUEUE, queue))
        if not wants:
            raise invalid("paused", "say what is wanted: paused, priority, memory or queue")
        return tuple(wants)

    async def _parts(self, lane: Lane, ref: JobRef) -> list[Part]:
        try:
            return list(await lane.driver.inspect(ref))
        except DriverError as error:
            raise _driver_error(error, ref.key) from error

    async def _attempt(self, row: JobRow, number: int) -> tuple[Lane, JobRef, int]:
        """The lane, the outside name and the number of an attempt; 0 is the newest."""
        job = row.job
        name = f"{row.campaign}/{row.step_name}/{row.group_name}/{job.name}"
        facility, driver, ref = job.facility, job.driver, job.ref
        wanted = number or job.attempt
        if wanted != job.attempt or ref is None or job.state not in IN_FLIGHT_JOB:
            rows = await self._room.reader.attempts(job.id)
            found = next((r for r in reversed(rows) if not number or r.number == number), None)
            if found is None and (number or ref is None):
                raise not_found(f"attempt {number or ''} of {name}".replace("  ", " "))
            if found is not None:
                wanted, facility, driver = found.number, found.facility, found.driver
                ref = found.ref
        lane = self._room.engine.lanes.lanes.get((facility, driver))
        if lane is None or ref is None:
            raise ApiError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "NO_DRIVER",
                f"{name}, attempt {wanted}, was run by driver {driver!r} at {facility!r}, which "
                "cannot be asked for it.",
                {"name": name},
            )
        attempt_key = key(row.campaign, row.step_name, row.group_name, job.name, wanted)
        return lane, JobRef(attempt_key, ref), wanted


def _driver_error(error: DriverError, name: str) -> ApiError:
    if error.error_class is ErrorClass.PERMANENT:
        return ApiError(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", str(error), {"name": name})
    return ApiError(grpc.StatusCode.UNAVAILABLE, "DRIVER_FAILED", str(error), {"name": name})
