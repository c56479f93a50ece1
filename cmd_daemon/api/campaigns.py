"""CampaignService."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import grpc

from cmd_api.v1 import campaign_pb2 as pb
from cmd_api.v1 import campaign_pb2_grpc
from cmd_daemon.api import paging
from cmd_daemon.api.errors import ApiError, bad_file, invalid, not_found, problem_message
from cmd_daemon.api.identity.caller import calling
from cmd_daemon.api.rehearsal import Rehearsal
from cmd_daemon.api.service import (
    Context,
    Room,
    actor_of,
    check_command,
    check_etag,
    state_names,
)
from cmd_daemon.api.shapes import campaign_etag, campaign_message, shown_state, stamp
from cmd_daemon.engine.files import applied, reviewed
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.kernel.records import CampaignFile, CampaignRow
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, CampaignState, Desired, JobKind
from cmd_daemon.spec import (
    CampaignFileError,
    CampaignPlan,
    Change,
    PlannedGroup,
    PlannedPlacement,
    changes,
    json_schema,
    plan_campaign,
    read_campaign,
)

MAX_GROUPS = 1000


class CampaignService(campaign_pb2_grpc.CampaignServiceServicer):
    """Plan, apply, look at, start, pause, resume, cancel, archive."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def PlanCampaign(
        self, request: pb.PlanCampaignRequest, context: Context
    ) -> pb.PlanCampaignResponse:
        if request.max_groups < 0:
            raise invalid("max_groups", f"must be 0 or more, not {request.max_groups}")
        plan = await self._read(request.source)
        rehearsal = Rehearsal(self._room, plan)
        planned = await plan_campaign(
            plan,
            rehearsal.split,
            request.max_groups or MAX_GROUPS,
            rehearsal.place,
            rehearsal.regions(),
            rehearsal.can_tell,
        )
        if planned.problems:
            raise bad_file(planned.problems)
        response = pb.PlanCampaignResponse(
            campaign=plan.name,
            warnings=[problem_message(problem) for problem in plan.warnings],
            output=plan.output,
        )
        for step in planned.steps:
            policy = step.policy
            groups = step.groups or 0
            response.steps.add(
                step=step.name,
                after=policy.after,
                optional=policy.optional,
                breakpoint=policy.breakpoint or "",
                splitter=policy.split.splitter if policy.jobs else "",
                output=policy.output if _processes(policy) else "",
                group_count=groups,
                job_count=groups * len(policy.jobs),
                groups=[_planned_group(group) for group in step.listed],
                note="; ".join(step.notes),
                job_names=[job.name for job in policy.jobs],
                placements=[_planned_placement(each) for each in step.placements],
            )
            response.group_count += groups
            response.job_count += groups * len(policy.jobs)
        return response

    async def ApplyCampaign(
        self, request: pb.ApplyCampaignRequest, context: Context
    ) -> pb.ApplyCampaignResponse:
        plan = await self._read(request.source)
        name = f"campaigns/{plan.name}"
        check_command(request)
        calling().names(name)
        former = await self._room.reader.get_campaign(plan.name)
        self._room.owners.check(name, plan.owner if former is None else former.campaign.owner)
        if await self._room.repeated(request, "Apply"):
            return pb.ApplyCampaignResponse(campaign=await self._message(name))
        warnings = [problem_message(problem) for problem in plan.warnings]
        if former is None:
            if request.etag:
                raise not_found(name)
            created = self._event(plan, None, (), request, context)
            await self._room.ask(created, request, "Apply")
            campaign = await self._message(name)
            return pb.ApplyCampaignResponse(campaign=campaign, created=True, warnings=warnings)
        check_etag(request.etag, campaign_etag(former.campaign), name)
        listed = await self._compare(former, plan)
        starts = request.start and former.campaign.state is CampaignState.DRAFT
        if listed or plan.digest != (await self._file(former)).digest:
            event: ev.Event = self._event(plan, former, listed, request, context)
            await self._room.ask(event, request, "Apply")
        elif starts:
            event = ev.CampaignStarted(
                campaign_id=former.campaign.id,
                actor=actor_of(context),
                reason=request.reason,
                request_id=request.request_id,
            )
            await self._room.ask(event, request, "Apply")
        return pb.ApplyCampaignResponse(
            campaign=await self._message(name),
            changes=[pb.Change(field=c.field, old=c.old, new=c.new) for c in listed],
            warnings=warnings,
        )

    async def GetCampaign(self, request: pb.GetCampaignRequest, context: Context) -> pb.Campaign:
        return await self._message(request.name)

    async def ListCampaigns(
        self, request: pb.ListCampaignsRequest, context: Context
    ) -> pb.ListCampaignsResponse:
        size = paging.page_size(request.page_size)
        states, wanted = _stored_states(request)
        question = f"campaigns:{sorted(wanted)}:{request.owner}"
        after = paging.after(question, request.page_token)
        rows = await self._room.reader.list_campaigns(
            states, request.owner or None, size + 1 if size < paging.LARGEST_PAGE else size, after
        )
        response = pb.ListCampaignsResponse()
        for row in rows[:size]:
            if wanted and shown_state(row.campaign) not in wanted:
                continue
            steps = await self._room.reader.list_steps(row.campaign.name)
            response.campaigns.append(campaign_message(row, [each.step for each in steps]))
        if len(rows) > size or (rows and size == paging.LARGEST_PAGE == len(rows)):
            response.next_page_token = paging.token(question, rows[size - 1].campaign.id)
        return response

    async def GetCampaignFile(
        self, request: pb.GetCampaignFileRequest, context: Context
    ) -> pb.CampaignFile:
        row = await self._room.campaign(request.name)
        stored = await self._room.reader.campaign_file(row.campaign.id, request.version or None)
        if stored is None:
            raise not_found(f"{request.name}, version {request.version}")
        return pb.CampaignFile(
            name=request.name,
            version=stored.version,
            text=stored.text,
            parameters=json.loads(stored.parameters),
            actor=stored.actor,
            time=stamp(stored.at),
            changes=[pb.Change(**each) for each in json.loads(stored.changes or "[]")],
        )

    async def GetCampaignSchema(
        self, request: pb.GetCampaignSchemaRequest, context: Context
    ) -> pb.GetCampaignSchemaResponse:
        return pb.GetCampaignSchemaResponse(schema=json.dumps(json_schema(), indent=2))

    async def StartCampaign(
        self, request: pb.StartCampaignRequest, context: Context
    ) -> pb.Campaign:
        return await self._command(request, context, ev.CampaignStarted, "Start")

    async def PauseCampaign(
        self, request: pb.PauseCampaignRequest, context: Context
    ) -> pb.Campaign:
        return await self._command(request, context, ev.CampaignPaused, "Pause")

    async def ResumeCampaign(
        self, request: pb.ResumeCampaignRequest, context: Context
    ) -> pb.Campaign:
        return await self._command(request, context, ev.CampaignResumed, "Resume")

    async def CancelCampaign(
        self, request: pb.CancelCampaignRequest, context: Context
    ) -> pb.Campaign:
        return await self._command(request, context, ev.CampaignCancelled, "Cancel")

    async def ArchiveCampaign(
        self, request: pb.ArchiveCampaignRequest, context: Context
    ) -> pb.Campaign:
        return await self._command(request, context, ev.CampaignArchived, "Archive")

    async def _command(
        self, request: Any, context: Context, event: type[ev.CampaignEvent], method: str
    ) -> pb.Campaign:
        check_command(request)
        row = await self._room.campaign(request.name)
        if not await self._room.repeated(request, method):
            check_etag(request.etag, campaign_etag(row.campaign), request.name)
            await self._room.ask(
                event(
                    campaign_id=row.campaign.id,
                    actor=actor_of(context),
                    reason=request.reason,
                    request_id=request.request_id,
                ),
                request,
                method,
            )
        return await self._message(request.name)

    async def _message(self, name: str) -> pb.Campaign:
        row = await self._room.campaign(name)
        steps = await self._room.reader.list_steps(row.campaign.name)
        return campaign_message(row, [each.step for each in steps])

    async def _read(self, source: pb.CampaignSource) -> CampaignPlan:
        """Read and check a file, in a thread: a large one takes a while. Raises ApiError."""
        try:
            plan = await asyncio.to_thread(
                read_campaign,
                source.text,
                file=source.file or "campaign.yaml",
                parameters=dict(source.parameters),
                known=self._room.known,
            )
            return reviewed(self._room.plugins, plan)
        except CampaignFileError as error:
            raise bad_file(error.problems) from error

    async def _file(self, row: CampaignRow) -> CampaignFile:
        stored = await self._room.reader.campaign_file(row.campaign.id)
        if stored is None:
            raise ApiError(
                grpc.StatusCode.INTERNAL, "INTERNAL", f"{row.campaign.name} has no stored file."
            )
        return stored

    async def _compare(self, row: CampaignRow, new: CampaignPlan) -> tuple[Change, ...]:
        """The differences to the stored version. Raises ApiError for what cannot change any more."""
        if row.campaign.state in FINAL_CAMPAIGN or row.campaign.desired is Desired.CANCEL:
            stored = await self._file(row)
            if stored.digest == new.digest:
                return ()
            raise ApiError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "STATE_REFUSED",
                f"campaigns/{new.name} is {shown_state(row.campaign)}: its file cannot change any "
                "more. Give the campaign another name to run it again.",
                {"name": f"campaigns/{new.name}", "state": shown_state(row.campaign)},
            )
        stored = await self._file(row)
        if stored.digest == new.digest:
            return ()
        try:
            old = await asyncio.to_thread(
                read_campaign,
                stored.text,
                file=f"{new.name} version {stored.version}",
                parameters=json.loads(stored.parameters),
                known=self._room.known,
            )
        except CampaignFileError as error:
            raise ApiError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "STATE_REFUSED",
                f"the stored version {stored.version} is not valid with the daemon's present "
                f"configuration, so the new one cannot be compared with it: {error}",
            ) from error
        begun: dict[str, frozenset[str]] = {}
        for step in await self._room.reader.list_steps(new.name):
            if step.step.group_counts or step.step.split_done:
                names = await self._room.reader.group_names(step.step.id)
                begun[step.step.name] = frozenset(names)
        listed, refused = changes(old, new, begun)
        if refused:
            raise bad_file(refused)
        return listed

    def _event(
        self,
        plan: CampaignPlan,
        former: CampaignRow | None,
        listed: Sequence[Change],
        request: pb.ApplyCampaignRequest,
        context: Context,
    ) -> ev.CampaignApplied:
        return applied(
            plan,
            former.campaign.id if former is not None else None,
            listed,
            start=request.start,
            actor=actor_of(context),
            reason=request.reason,
            request_id=request.request_id,
        )


def _processes(policy: StepPolicy) -> bool:
    return any(job.kind is JobKind.PROCESS for job in policy.jobs)


def _planned_group(group: PlannedGroup) -> pb.PlannedGroup:
    return pb.PlannedGroup(
        group=group.name,
        where=group.where,
        size=group.size,
        keys=[job.key for job in group.jobs],
        facility=_facility(group.would_run.facility),
        reason=group.would_run.reason,
        region=group.region or "",
        input_bytes=group.would_run.input_bytes,
    )


def _planned_placement(placement: PlannedPlacement) -> pb.PlannedPlacement:
    return pb.PlannedPlacement(
        facility=_facility(placement.facility),
        group_count=placement.groups,
        reason=placement.reason,
        input_bytes=placement.input_bytes,
    )


def _facility(name: str | None) -> str:
    return "" if name is None else f"facilities/{name}"


def _stored_states(request: pb.ListCampaignsRequest) -> tuple[set[CampaignState], set[str]]:
    """The stored states to ask the store for, and the shown states to keep of them (empty: all)."""
    wanted = state_names(pb.Campaign.State.DESCRIPTOR, request.states)
    if not wanted:
        if request.show_archived:
            return set(), set()
        return set(CampaignState) - {CampaignState.ARCHIVED}, set()
    stored = {CampaignState(state) for state in wanted if state in CampaignState.__members__}
    if wanted & {"PAUSING", "CANCELLING"}:
        stored |= {CampaignState.RUNNING, CampaignState.PAUSED, CampaignState.DRAFT}
    return stored, wanted
