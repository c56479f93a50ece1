"""What follows when a group leaves its facility: recalled by policy, or moved by a person."""

import json

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Group, Job
from cmd_daemon.kernel.on_job import count_quanta
from cmd_daemon.kernel.records import PlacementRow
from cmd_daemon.kernel.states import IN_FLIGHT_JOB, GroupState, JobKind, JobState

MOVED = "moved"
"""Stands for the algorithm in a placement decision that a person made."""


def recalled(draft: Draft, event: ev.GroupRecalled) -> None:
    """A group that has not begun gives its facility up and is placed again; a pinned one waits."""
    seen = draft.view.groups.get(event.group_id)
    if seen is None or seen.state is not GroupState.PLACED or seen.facility != event.facility:
        return
    if seen.pinned is not None:
        return
    group = draft.group(event.group_id)
    draft.move_group(group, GroupState.READY, event.reason)
    _leave(draft, group)


def moved(draft: Draft, event: ev.GroupMoved) -> None:
    """The group is pinned to a facility. If it stands at another one, it leaves that and begins anew."""
    group = draft.group(event.group_id)
    reason = f"moved to {event.facility}: {event.reason or f'by {event.actor}'}"
    if group.facility == event.facility:
        _pin(draft, group, event, reason)
        draft.note(group, reason)
        return
    job = draft.peek_job(group.jobs[group.cursor])
    if job.state is JobState.UNCERTAIN:
        raise draft.refuse(
            group,
            f"Job {job.name} is uncertain: it may run at {job.facility}. Release the group to have it "
            "looked up, or reject it.",
        )
    if job.state in IN_FLIGHT_JOB:
        raise draft.refuse(
            group,
            f"Its job {job.name} is {job.state} at {job.facility}: hold the group (cm hold), wait for "
            "the job's end, then move.",
        )
    _pin(draft, group, event, reason)
    group.due_at = None
    group.stopped = False
    if group.state is GroupState.READY or group.held:
        group.reason = reason
        draft.note(group, reason)
    else:
        draft.move_group(group, GroupState.READY, reason)
    if group.facility is not None:
        _leave(draft, group)


def _pin(draft: Draft, group: Group, event: ev.GroupMoved, reason: str) -> None:
    """A person's own placement decision, kept with the others: where the group's region is follows it."""
    group.pinned = event.facility
    draft.decision.placements.append(
        PlacementRow(group.id, draft.now, event.facility, MOVED, event.actor, reason)
    )


def _leave(draft: Draft, group: Group) -> None:
    """Back to before the placement. Attempts stay in the history and keep their numbers; none of them
    counts any more, because what they made is at the facility that is left."""
    group.facility = None
    group.cursor = 0
    group.started_at = None
    group.accept_losses = False
    group.quanta_lost = 0
    if group.quanta_expected or group.quanta_succeeded:
        count_quanta(draft, group, 0, 0)
    drivers = _own_drivers(draft, group)
    for ident in group.jobs:
        job = draft.job(ident)
        _begin_anew(draft, job)
        job.facility = ""
        job.driver = drivers.get((job.name, job.kind)) or ""


def _begin_anew(draft: Draft, job: Job) -> None:
    job.budget_from = job.fresh_from = job.attempt
    job.mode = ""
    job.ref = None
    job.submit_tries = 0
    job.due_at = None
    job.progress = None
    job.started_at = job.submitted_at = None
    to = JobState.READY if job.position == 0 else JobState.WAITING
    if job.state is not to:
        draft.move_job(job, to)
    else:
        job.reason = None


def _own_drivers(draft: Draft, group: Group) -> dict[tuple[str, JobKind], str | None]:
    """The drivers that the file, or a plugin that planned the group, names for its jobs outright."""
    own = json.loads(group.share).get("jobs")
    if own:
        return {(each["name"], JobKind(each["kind"])): each.get("driver") for each in own}
    policy = draft.peek_step(group.step_id).policy
    return {(template.name, template.kind): template.driver for template in policy.jobs}
