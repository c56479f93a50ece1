"""ScheduleService."""

import asyncio
import json
from collections.abc import Sequence

from cmd_api.v1 import schedule_pb2 as pb
from cmd_api.v1 import schedule_pb2_grpc
from cmd_daemon.api.errors import bad_file, invalid, not_found
from cmd_daemon.api.identity.caller import calling
from cmd_daemon.api.names import parse_schedule_name
from cmd_daemon.api.service import Context, Room, actor_of, check_command, check_etag
from cmd_daemon.api.shapes import stamp
from cmd_daemon.engine.files import reviewed
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.records import Schedule, ScheduleRun
from cmd_daemon.kernel.states import ScheduleState
from cmd_daemon.spec import (
    CampaignFileError,
    CampaignPlan,
    Crontab,
    SchedulePlan,
    read_schedule,
)

NEXT = 5
RUNS = 20
MOST_RUNS = 1000


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """Apply, look at, pause, resume, run, remove."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def ApplySchedule(
        self, request: pb.ApplyScheduleRequest, context: Context
    ) -> pb.ApplyScheduleResponse:
        check_command(request)
        try:
            plan, campaigns = await asyncio.to_thread(self._read, request)
        except CampaignFileError as error:
            raise bad_file(error.problems) from error
        name = f"schedules/{plan.name}"
        calling().names(name)
        former = self._room.engine.view.schedules.get(plan.name)
        for owner in {former.owner if former else plan.file.owner, *(c.owner for c in campaigns)}:
            self._room.owners.check(name, owner)
        etag = _etag(former) if former is not None else ""
        check_etag(request.etag, etag, name)
        response = pb.ApplyScheduleResponse(
            created=former is None or former.state is ScheduleState.REMOVED,
            campaigns=[f"campaigns/{each.name}" for each in campaigns],
        )
        if request.dry_run:
            return response
        same = (
            former is not None
            and former.state is not ScheduleState.REMOVED
            and (former.text, former.template) == (plan.text, plan.template)
        )
        if not await self._room.repeated(request, "ApplySchedule") and not same:
            file = plan.file
            event = ev.ScheduleApplied(
                schedule=plan.name,
                owner=file.owner,
                cron=file.cron,
                zone=file.zone,
                overlap=str(file.overlap),
                text=plan.text,
                template=plan.template,
                template_file=file.template,
                next_at=plan.crontab.after(self._room.clock.now()),
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, "ApplySchedule")
        response.schedule.CopyFrom(await self._message(plan.name, RUNS))
        return response

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.Schedule:
        if not 0 <= request.max_runs <= MOST_RUNS:
            raise invalid("max_runs", f"must be from 0 to {MOST_RUNS}, not {request.max_runs}")
        name = parse_schedule_name(request.name)
        return await self._message(name, request.max_runs or RUNS)

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        response = pb.ListSchedulesResponse()
        for schedule in await self._room.reader.schedules():
            runs = await self._room.reader.schedule_runs(schedule.name, 1)
            response.schedules.append(_shown(schedule, runs))
        return response

    async def PauseSchedule(
        self, request: pb.PauseScheduleRequest, context: Context
    ) -> pb.Schedule:
        name = self._known(request.name)
        event = ev.SchedulePaused(
            schedule=name,
            actor=actor_of(context),
            reason=request.reason,
            request_id=request.request_id,
        )
        return await self._done(name, event, request, "PauseSchedule")

    async def ResumeSchedule(
        self, request: pb.ResumeScheduleRequest, context: Context
    ) -> pb.Schedule:
        name = self._known(request.name)
        schedule = self._room.engine.view.schedules[name]
        event = ev.ScheduleResumed(
            schedule=name,
            next_at=Crontab(schedule.cron, schedule.zone).after(self._room.clock.now()),
            actor=actor_of(context),
            reason=request.reason,
            request_id=request.request_id,
        )
        return await self._done(name, event, request, "ResumeSchedule")

    async def RunSchedule(self, request: pb.RunScheduleRequest, context: Context) -> pb.Schedule:
        check_command(request)
        name = self._known(request.name)
        event = await self._room.engine.scheduling.now(
            self._room.engine.view.schedules[name],
            actor_of(context),
            request.reason,
            request.request_id,
        )
        return await self._done(name, event, request, "RunSchedule")

    async def RemoveSchedule(
        self, request: pb.RemoveScheduleRequest, context: Context
    ) -> pb.Schedule:
        name = self._known(request.name)
        event = ev.ScheduleRemoved(
            schedule=name,
            actor=actor_of(context),
            reason=request.reason,
            request_id=request.request_id,
        )
        return await self._done(name, event, request, "RemoveSchedule")

    async def _done(
        self,
        name: str,
        event: ev.ScheduleEvent,
        request: pb.PauseScheduleRequest
        | pb.ResumeScheduleRequest
        | pb.RunScheduleRequest
        | pb.RemoveScheduleRequest,
        method: str,
    ) -> pb.Schedule:
        check_command(request)
        if not await self._room.repeated(request, method):
            await self._room.ask(event, request, method)
        return await self._message(name, RUNS)

    def _known(self, resource: str) -> str:
        """The schedule of a resource name, removed ones too. Raises ApiError."""
        name = parse_schedule_name(resource)
        if name not in self._room.engine.view.schedules:
            raise not_found(resource)
        return name

    async def _message(self, name: str, runs: int) -> pb.Schedule:
        schedule = self._room.engine.view.schedules.get(name)
        if schedule is None:
            raise not_found(f"schedules/{name}")
        message = _shown(schedule, await self._room.reader.schedule_runs(name, runs))
        message.text, message.template = schedule.text, schedule.template
        return message

    def _read(self, request: pb.ApplyScheduleRequest) -> tuple[SchedulePlan, list[CampaignPlan]]:
        """Check both files, and what the plugins say of the campaigns. Raises CampaignFileError."""
        now = self._room.clock.now()
        known = self._room.known
        plan = read_schedule(
            request.text,
            request.template,
            file=request.file or "schedule.yaml",
            known=known,
            now=now,
        )
        campaigns = plan.launch(plan.crontab.after(now), known)
        return plan, [reviewed(self._room.plugins, each) for each in campaigns]


def _etag(schedule: Schedule) -> str:
    return f"{schedule.version}"


def _shown(schedule: Schedule, runs: Sequence[ScheduleRun]) -> pb.Schedule:
    message = pb.Schedule(
        name=f"schedules/{schedule.name}",
        state=pb.Schedule.State.Value(f"STATE_{schedule.state}"),
        owner=schedule.owner,
        cron=schedule.cron,
        zone=schedule.zone,
        overlap=schedule.overlap,
        version=schedule.version,
        actor=schedule.actor,
        change_time=stamp(schedule.at),
        reason=schedule.reason,
        queued_time=stamp(schedule.queued_at),
        runs=[_run(run) for run in runs],
        etag=_etag(schedule),
    )
    at = schedule.next_at
    crontab = Crontab(schedule.cron, schedule.zone)
    while at is not None and len(message.next_times) < NEXT:
        message.next_times.add().FromMicroseconds(at)
        at = crontab.after(at)
    return message


def _run(run: ScheduleRun) -> pb.ScheduleRun:
    return pb.ScheduleRun(
        due_time=stamp(run.due_at),
        time=stamp(run.at),
        outcome=pb.ScheduleRun.Outcome.Value(f"OUTCOME_{run.outcome}"),
        actor=run.actor,
        reason=run.reason,
        campaigns=[f"campaigns/{name}" for name in json.loads(run.campaigns)],
    )
