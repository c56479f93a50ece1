"""From rows to messages."""

import json
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from cmd_api.v1 import campaign_pb2, event_pb2, group_pb2, job_pb2, step_pb2
from cmd_daemon.hooks.placement import Placement
from cmd_daemon.kernel import commands
from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.records import (
    AttemptRow,
    CampaignRow,
    GroupRow,
    JobRow,
    PlacementRow,
    Record,
    StepRow,
)
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, Desired, GroupState, JobState, StepState

_CAMPAIGN_STATE = campaign_pb2.Campaign.State.Value
_STEP_STATE = step_pb2.Step.State.Value
_GROUP_STATE = group_pb2.Group.State.Value
_JOB_STATE = job_pb2.Job.State.Value
_STANDING = job_pb2.Job.Standing.Value

NEEDS_PERSON_GROUPS = (GroupState.REVIEW, GroupState.HELD)
NEEDS_PERSON_STEPS = (StepState.REVIEW, StepState.HELD)


def stamp(at: int | None) -> Timestamp | None:
    """Microseconds UTC as a Timestamp."""
    if at is None:
        return None
    return Timestamp(seconds=at // 1_000_000, nanos=at % 1_000_000 * 1000)


def shown_state(campaign: Campaign) -> str:
    """The state people see: PAUSING and CANCELLING while observed and desired differ."""
    if campaign.state not in FINAL_CAMPAIGN:
        if campaign.desired is Desired.CANCEL:
            return "CANCELLING"
        if campaign.desired is Desired.PAUSE and campaign.state != "PAUSED":
            return "PAUSING"
    return campaign.state


def campaign_etag(campaign: Campaign) -> str:
    """Changes with the campaign's own changes, not with its counters."""
    return f"{campaign.file_version}-{campaign.state}-{campaign.desired}"


def step_etag(step: Step) -> str:
    """Changes with the step's state and signature."""
    return f"{step.state}-{step.tries}-{step.signed_by or ''}"


def campaign_message(row: CampaignRow, steps: list[Step]) -> campaign_pb2.Campaign:
    """A campaign with the counts of its steps rolled up."""
    campaign = row.campaign
    groups: dict[str, int] = {}
    jobs: dict[str, int] = {}
    quanta = campaign_pb2.Quanta()
    persons = 0
    for step in steps:
        for counts, into in ((step.group_counts, groups), (step.job_counts, jobs)):
            for state, count in counts.items():
                into[state] = into.get(state, 0) + count
        quanta.expected += step.quanta_expected
        quanta.succeeded += step.quanta_succeeded
        quanta.lost += step.quanta_lost
        persons += step.state in NEEDS_PERSON_STEPS
    persons += sum(groups.get(state, 0) for state in NEEDS_PERSON_GROUPS)
    return campaign_pb2.Campaign(
        name=f"campaigns/{campaign.name}",
        owner=campaign.owner,
        ticket=row.ticket,
        state=_CAMPAIGN_STATE(f"STATE_{shown_state(campaign)}"),
        reason=campaign.reason or "",
        etag=campaign_etag(campaign),
        file_version=campaign.file_version,
        create_time=stamp(campaign.created_at),
        start_time=stamp(campaign.started_at),
        finish_time=stamp(campaign.finished_at),
        step_counts=campaign.step_counts,
        group_counts=groups,
        job_counts=jobs,
        quanta=quanta,
        in_flight=campaign.in_flight,
        paused=campaign.paused,
        needs_person=persons,
    )


def step_message(row: StepRow) -> step_pb2.Step:
    """A step."""
    step = row.step
    return step_pb2.Step(
        name=f"campaigns/{row.campaign}/steps/{step.name}",
        state=_STEP_STATE(f"STATE_{step.state}"),
        reason=step.reason or "",
        etag=step_etag(step),
        after=step.policy.after,
        optional=step.policy.optional,
        breakpoint=step.policy.breakpoint or "",
        signed_by=step.signed_by or "",
        splitter=step.policy.split.splitter if step.policy.jobs else "",
        output=step.policy.output if step.policy.jobs else "",
        group_counts=step.group_counts,
        job_counts=step.job_counts,
        quanta=campaign_pb2.Quanta(
            expected=step.quanta_expected, succeeded=step.quanta_succeeded, lost=step.quanta_lost
        ),
        start_time=stamp(step.started_at),
        finish_time=stamp(step.finished_at),
        shares=step.policy.placement.shares,
    )


def group_message(row: GroupRow) -> group_pb2.Group:
    """A group."""
    group: Group = row.group
    share = json.loads(group.share)
    return group_pb2.Group(
        name=f"campaigns/{row.campaign}/steps/{row.step_name}/groups/{group.name}",
        state=_GROUP_STATE(f"STATE_{group.state}"),
        reason=group.reason or "",
        etag=str(group.version),
        facility=f"facilities/{group.facility}" if group.facility else "",
        pinned=f"facilities/{group.pinned}" if group.pinned else "",
        region=group.region or "",
        where=str(share.get("where", "")),
        size=int(share.get("size", 0)),
        quanta=campaign_pb2.Quanta(
            expected=group.quanta_expected,
            succeeded=group.quanta_succeeded,
            lost=group.quanta_lost,
        ),
        job_count=len(group.jobs),
        job_position=group.cursor,
        create_time=stamp(group.created_at),
        start_time=stamp(group.started_at),
        finish_time=stamp(group.finished_at),
    )


def job_message(row: JobRow) -> job_pb2.Job:
    """A job with its current attempt."""
    job: Job = row.job
    message = job_pb2.Job(
        name=(
            f"campaigns/{row.campaign}/steps/{row.step_name}/groups/{row.group_name}"
            f"/jobs/{job.name}"
        ),
        state=_JOB_STATE(f"STATE_{job.state}"),
        reason=job.reason or "",
        etag=str(job.version),
        kind=job.kind,
        facility=f"facilities/{job.facility}" if job.facility else "",
        driver=job.driver,
        attempt=job.attempt,
        ref=job.ref or "",
        due_time=stamp(job.due_at),
        submit_time=stamp(job.submitted_at),
        start_time=stamp(job.started_at),
    )
    if job.state is JobState.RUNNING:
        message.standing = _STANDING(f"STANDING_{job.standing}")
        message.pause_wanted = job.pause_wanted
    for wanted in commands.read(job.commands):
        message.commands.add(
            command=wanted.command,
            value="" if wanted.value is None else str(wanted.value),
            give_up_time=stamp(wanted.until or None),
            message=wanted.message,
        )
    if job.progress:
        message.progress.CopyFrom(job_pb2.Progress(**json.loads(job.progress)))
    return message


def attempt_message(row: AttemptRow) -> job_pb2.Attempt:
    """A finished attempt."""
    tasks: dict[str, dict[str, int]] = json.loads(row.quanta) if row.quanta else {}
    failures: list[dict[str, Any]] = json.loads(row.failures) if row.failures else []
    return job_pb2.Attempt(
        number=row.number,
        state=row.state,
        mode=row.mode,
        facility=f"facilities/{row.facility}" if row.facility else "",
        driver=row.driver,
        ref=row.ref or "",
        submit_time=stamp(row.submitted_at),
        start_time=stamp(row.started_at),
        finish_time=stamp(row.finished_at),
        exit_code=row.exit_code,
        error_class=row.error_class or "",
        message=row.message,
        output_run=row.output_run or "",
        memory=row.memory,
        tasks=[job_pb2.TaskQuanta(task=task, **counts) for task, counts in tasks.items()],
        failures=[
            job_pb2.Failure(
                task=each["task"],
                data_id=each["data_id"],
                message=each["message"],
                exit_code=each["exit"],
            )
            for each in failures
        ],
        extra=row.extra or "",
    )


def placement_message(row: PlacementRow) -> group_pb2.Placement:
    """A placement decision."""
    factors: list[tuple[str, str, float, bool, str]] = json.loads(row.factors or "[]")
    return group_pb2.Placement(
        time=stamp(row.at),
        facility=f"facilities/{row.facility}" if row.facility else "",
        algorithm=row.algorithm,
        actor=row.actor,
        reason=row.reason,
        factors=[
            group_pb2.PlacementFactor(
                facility=f"facilities/{facility}",
                name=name,
                value=value,
                passed=passed,
                detail=detail,
            )
            for facility, name, value, passed, detail in factors
        ],
    )


def answer_message(algorithm: str, placement: Placement, factors: str) -> group_pb2.Placement:
    """A selector's answer that was not taken up: without a time, with its factors (JSON)."""
    row = PlacementRow(0, 0, placement.facility, algorithm, "", placement.reason, factors)
    message = placement_message(row)
    message.ClearField("time")
    return message


def event_message(record: Record) -> event_pb2.Event:
    """A committed event."""
    return event_pb2.Event(
        seq=record.seq,
        time=stamp(record.at),
        name=record.name,
        kind=record.kind,
        from_state=record.from_state,
        to_state=record.to_state,
        cause=record.cause,
        actor=record.actor,
        reason=record.reason,
        facility=record.facility,
        attempt=record.attempt,
        request_id=record.request_id,
        detail=record.detail or "",
    )
