"""StatisticsService."""

import asyncio
from typing import NamedTuple

from cmd_api.v1 import statistics_pb2 as pb
from cmd_api.v1 import statistics_pb2_grpc
from cmd_daemon.api.causes import Cause, causes_of, expression_of
from cmd_daemon.api.costs import costs_message, story_message
from cmd_daemon.api.errors import bad_file, invalid
from cmd_daemon.api.names import parse
from cmd_daemon.api.nexus import place_name
from cmd_daemon.api.service import Context, Room, micros
from cmd_daemon.api.shapes import stamp
from cmd_daemon.api.trials import RuleTrial
from cmd_daemon.kernel.entities import Campaign, Step
from cmd_daemon.kernel.outcome import ErrorClass, Failure
from cmd_daemon.kernel.policy import RuleAction
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, FINAL_STEP
from cmd_daemon.spec import CampaignFileError, proposed_rule, read_rules, rule_text

SPANS = 60
MOST_SPANS = 500
MOST_SLICES = 500
CAUSES = 50
MOST_CAUSES = 500
EXAMPLES = 5
MOST_EXAMPLES = 50
MOST_TRIED = 20_000
"""Attempts that rules are tried on at most: the newest."""
STORIES = 20
MOST_STORIES = 500
SECOND = 1_000_000


class _Asked(NamedTuple):
    """What is asked about: a step, or the campaign as a whole."""

    campaign: Campaign
    step: Step | None

    @property
    def step_id(self) -> int | None:
        return self.step.id if self.step is not None else None


class StatisticsService(statistics_pb2_grpc.StatisticsServiceServicer):
    """Sums for overviews and pictures."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetGroupCounts(
        self, request: pb.GetGroupCountsRequest, context: Context
    ) -> pb.GroupCounts:
        asked = await self._parent(request.parent)
        slices = _number("slices", request.slices, 0, MOST_SLICES)
        rows = await self._room.reader.count_groups(asked.campaign.id, asked.step_id, slices)
        return pb.GroupCounts(
            counts=[
                pb.GroupCount(
                    step=f"campaigns/{asked.campaign.name}/steps/{row.step}",
                    facility=f"facilities/{row.facility}" if row.facility else "",
                    state=row.state,
                    count=row.count,
                    slice=row.slice,
                    first=row.first,
                )
                for row in rows
            ]
        )

    async def GetActivity(self, request: pb.GetActivityRequest, context: Context) -> pb.Activity:
        asked = await self._parent(request.parent)
        spans = _number("spans", request.spans, SPANS, MOST_SPANS)
        start, end = self._times(request, asked.step or asked.campaign)
        width = max(1, -(-(end - start) // spans))
        answer = pb.Activity(start_time=stamp(start), span=width / SECOND, spans=spans)
        rows = await self._room.reader.activity(
            asked.campaign.id, asked.step_id, start, width, spans
        )
        parts: dict[tuple[str, str], pb.ActivityOfStep] = {}
        for row in rows:
            key = (row.step, row.facility)
            if key not in parts:
                parts[key] = _empty(asked.campaign.name, row.step, row.facility, spans)
            part = parts[key]
            match row.what:
                case "begun":
                    part.begun[row.span] += row.count
                case "bytes":
                    part.bytes[row.span] += row.count
                case "SUCCEEDED":
                    part.succeeded[row.span] += row.count
                case "CANCELLED":
                    part.cancelled[row.span] += row.count
                case _:
                    part.failed[row.span] += row.count
            part.quanta[row.span] += row.quanta
        answer.parts.extend(parts[key] for key in sorted(parts))
        return answer

    async def GetFailureCauses(
        self, request: pb.GetFailureCausesRequest, context: Context
    ) -> pb.FailureCauses:
        asked = await self._parent(request.parent)
        most = _number("max_causes", request.max_causes, CAUSES, MOST_CAUSES)
        rows = await self._room.reader.failures(asked.campaign.id, asked.step_id)
        causes = await asyncio.to_thread(causes_of, rows)
        return pb.FailureCauses(
            causes=[_cause(asked.campaign.name, cause) for cause in causes[:most]],
            total=rows[0].total if rows else 0,
        )

    async def TestRules(self, request: pb.TestRulesRequest, context: Context) -> pb.RuleTest:
        asked = await self._parent(request.parent)
        examples = _number("max_examples", request.max_examples, EXAMPLES, MOST_EXAMPLES)
        try:
            rules = read_rules(request.rules, file=request.file or "rules")
        except CampaignFileError as error:
            raise bad_file(error.problems) from error
        steps = await self._room.reader.list_steps(asked.campaign.name)
        policies = {
            row.step.name: row.step.policy
            for row in steps
            if asked.step is None or row.step.id == asked.step.id
        }
        rows, total = await self._room.reader.tried(asked.campaign.id, asked.step_id, MOST_TRIED)
        trial = RuleTrial(asked.campaign.name, policies, rules, request.after_present, examples)
        return await asyncio.to_thread(trial.run, rows, total)

    async def GetCosts(self, request: pb.GetCostsRequest, context: Context) -> pb.Costs:
        asked = await self._parent(request.parent)
        most = _number("max_groups", request.max_groups, STORIES, MOST_STORIES)
        about, reader, now = (
            (asked.campaign.id, asked.step_id),
            self._room.reader,
            self._room.clock.now(),
        )
        steps = await reader.list_steps(asked.campaign.name)
        cores = {row.step.name: row.step.policy.resources.cores for row in steps}
        losses = await reader.losses(*about, now, most)
        return pb.Costs(
            costs=[
                costs_message(asked.campaign.name, row, cores[row.step])
                for row in await reader.costs(*about)
            ],
            losses=[story_message(asked.campaign.name, row) for row in losses],
            losses_total=losses[0].total if losses else 0,
            slowest=[
                story_message(asked.campaign.name, row)
                for row in await reader.slowest(*about, now, most)
            ],
        )

    async def GetWays(self, request: pb.GetWaysRequest, context: Context) -> pb.Ways:
        if request.parent:
            asked = await self._parent(request.parent)
            rows = await self._room.reader.ways(asked.campaign.id, asked.step_id)
        else:
            rows = await self._room.reader.ways()
        facilities = self._room.facilities
        return pb.Ways(
            ways=[
                pb.Way(
                    source=place_name(row.source, facilities),
                    destination=place_name(row.destination, facilities),
                    made=row.made,
                    sent=row.sent,
                    arrived=row.arrived,
                    ingested=row.ingested,
                    bytes=row.bytes,
                    gap_count=row.missing,
                    groups=row.groups,
                )
                for row in rows
            ]
        )

    async def _parent(self, name: str) -> _Asked:
        """What is named, a campaign or a step of it. Raises ApiError."""
        path = parse(name, 1, 2)
        campaign = (await self._room.campaign(f"campaigns/{path.campaign}")).campaign
        return _Asked(campaign, (await self._room.step(name)).step if path.step else None)

    def _times(self, request: pb.GetActivityRequest, about: Campaign | Step) -> tuple[int, int]:
        """From when to when, in microseconds. Raises ApiError."""
        now = self._room.clock.now()
        final = about.state in FINAL_CAMPAIGN or about.state in FINAL_STEP
        start = about.started_at or now
        # The end itself is in the last span.
        end = (about.finished_at or now) + 1 if final else now
        if request.HasField("start_time"):
            start = micros("start_time", request.start_time)
        if request.HasField("end_time"):
            end = micros("end_time", request.end_time)
            if end < start:
                raise invalid("end_time", "is before start_time")
        return start, max(start, end)


def _number(field: str, asked: int, usual: int, most: int) -> int:
    if not 0 <= asked <= most:
        raise invalid(field, f"must be 0 to {most}, not {asked}")
    return asked or usual


def _empty(campaign: str, step: str, facility: str, spans: int) -> pb.ActivityOfStep:
    nothing = [0] * spans
    return pb.ActivityOfStep(
        step=f"campaigns/{campaign}/steps/{step}",
        facility=f"facilities/{facility}" if facility else "",
        begun=nothing,
        succeeded=nothing,
        failed=nothing,
        cancelled=nothing,
        quanta=nothing,
        bytes=nothing,
    )


def _cause(campaign: str, cause: Cause) -> pb.FailureCause:
    last = cause.last
    return pb.FailureCause(
        pattern=cause.pattern,
        message=last.message,
        task=last.task,
        exit_code=last.exit_code,
        error_class=last.error_class or "",
        count=cause.count,
        facilities=cause.facilities,
        steps=cause.steps,
        first_time=stamp(cause.first_at),
        last_time=stamp(last.last_at),
        job=f"campaigns/{campaign}/steps/{last.step}/groups/{last.group}/jobs/{last.job}",
        attempt=last.attempt,
        rule=_proposed(cause),
    )


def _proposed(cause: Cause) -> str:
    """A rule to start from: what may be tried again is, the rest waits for a person."""
    last = cause.last
    again = last.error_class not in (ErrorClass.PERMANENT, ErrorClass.UNKNOWN)
    rule = proposed_rule(
        expression_of(last.message),
        Failure(last.task, "", last.message, last.exit_code),
        RuleAction.RETRY if again else RuleAction.HOLD,
    )
    return rule_text(rule) if rule is not None else ""
