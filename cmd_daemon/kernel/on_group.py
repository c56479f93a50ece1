"""What follows from events about groups: placement, and what persons decide."""

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel import retry
from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Group, Job
from cmd_daemon.kernel.on_job import count_quanta, look_again, stop_group, stopped_words
from cmd_daemon.kernel.records import PlacementRow
from cmd_daemon.kernel.rollup import end_group, settle_group
from cmd_daemon.kernel.states import GroupState, JobKind, JobState
from cmd_daemon.kernel.verdict import FROM_START, MISSING_ONLY
from cmd_daemon.kernel.view import View

PLACE_AGAIN = 60 * retry.SECOND
"""Pause before a group that no facility would take is placed again."""


def placed(draft: Draft, event: ev.GroupPlaced) -> None:
    """The group is bound to a facility, and its jobs to that facility's drivers."""
    seen = draft.view.groups.get(event.group_id)
    if seen is None or seen.state is not GroupState.READY or seen.due_at is not None:
        return
    if seen.pinned != event.pinned:
        return  # a person moved it meanwhile: the engine asks again
    group = draft.group(event.group_id)
    if draft.view.killed(event.facility):
        # Chosen before the kill: another facility, or this one later.
        group.reason = f"{event.facility} was stopped by the kill switch before it was placed there"
        draft.note(group, group.reason)
        group.due_at = draft.now + PLACE_AGAIN
        return
    draft.decision.placements.append(
        PlacementRow(
            group.id,
            draft.now,
            event.facility,
            event.algorithm,
            event.actor,
            event.reason,
            event.factors,
        )
    )
    for ident in group.jobs:
        seen_job = draft.peek_job(ident)
        if not (seen_job.driver or event.drivers.get(seen_job.kind)):
            draft.move_group(
                group,
                GroupState.HELD,
                f"{event.facility} has no driver for {seen_job.kind} jobs: configure one there, "
                "then release",
            )
            return
    group.facility = event.facility
    for ident in group.jobs:
        job = draft.job(ident)
        job.facility = event.facility
        job.driver = job.driver or event.drivers[job.kind]
    draft.move_group(group, GroupState.PLACED, event.reason)


def not_placed(draft: Draft, event: ev.GroupNotPlaced) -> None:
    """No facility will do: asked for again later, or held if that can never change."""
    seen = draft.view.groups.get(event.group_id)
    if seen is None or seen.state is not GroupState.READY or seen.due_at is not None:
        return
    if seen.pinned != event.pinned:
        return  # a person moved it meanwhile: the engine asks again
    group = draft.group(event.group_id)
    draft.decision.placements.append(
        PlacementRow(
            group.id, draft.now, None, event.algorithm, event.actor, event.message, event.factors
        )
    )
    if event.permanent:
        draft.move_group(group, GroupState.HELD, event.message)
        return
    if group.reason != event.message:
        group.reason = event.message
        draft.note(group, event.message)
    group.due_at = draft.now + PLACE_AGAIN


def retried(draft: Draft, event: ev.GroupRetried) -> None:
    """A new attempt with a new budget."""
    group, job = _at_cursor(draft, event.group_id)
    if event.mode == MISSING_ONLY and job.kind is not JobKind.PROCESS:
        raise draft.refuse(
            group, f"Its job {job.name} is a {job.kind} job and has no quanta: retry it as a whole."
        )
    if job.state is JobState.UNCERTAIN:
        raise draft.refuse(
            group, f"Job {job.name} is uncertain: release the group to have it looked up first."
        )
    _check_not_killed(draft, group)
    paused = job.due_at is not None or group.stopped
    waits = job.state is JobState.READY and job.attempt > 0 and paused
    if job.state is not JobState.HELD and not waits:
        raise draft.refuse(
            group,
            f"Its job {job.name} is {job.state}; a retry needs a job that is held, in review "
            "or waiting to be tried again.",
        )
    job.budget_from = job.attempt
    if event.mode == FROM_START:
        job.fresh_from = job.attempt
        if job.kind is JobKind.PROCESS:
            count_quanta(draft, group, 0, 0)
    job.mode = event.mode
    job.due_at = None
    if job.state is JobState.HELD:
        draft.move_job(job, JobState.READY, event.reason)
    else:
        draft.note(job, event.reason or "tried again now")
    group.accept_losses = False
    group.held = False
    if group.state is not GroupState.RUNNING:
        draft.move_group(group, GroupState.RUNNING, event.reason)


def accepted(draft: Draft, event: ev.GroupAccepted) -> None:
    """The person takes what there is; the chain goes on after the job."""
    group, job = _at_cursor(draft, event.group_id)
    if group.state not in (GroupState.REVIEW, GroupState.HELD) or job.state is not JobState.HELD:
        raise draft.refuse(
            group,
            f"It is {group.state}; only a group in REVIEW or HELD by a failure can be accepted.",
        )
    lost = group.quanta_expected - group.quanta_succeeded
    if job.kind is JobKind.PROCESS and not group.quanta_succeeded:
        raise draft.refuse(group, "None of its quanta succeeded: retry or reject it.")
    group.held = False
    group.accept_losses = True
    group.quanta_lost = lost
    draft.move_job(job, JobState.SUCCEEDED, f"accepted by {event.actor} with {lost} quanta lost")
    draft.move_group(group, GroupState.RUNNING, event.reason)
    settle_group(draft, group)
    if draft.view.killed(group.facility):
        stop_group(draft, group.id)


def rejected(draft: Draft, event: ev.GroupRejected) -> None:
    """The group is left out; the step goes on without it."""
    group, job = _at_cursor(draft, event.group_id)
    if job.state in (JobState.SUBMITTING, JobState.RUNNING):
        raise draft.refuse(
            group,
            f"Its job {job.name} is still outside: hold the group, wait for the job's end, then "
            "reject.",
        )
    if group.state is GroupState.RUNNING and job.state is not JobState.UNCERTAIN:
        raise draft.refuse(group, "It is RUNNING: hold it first, then reject.")
    if job.state is JobState.UNCERTAIN:
        job.cancelling = False
        draft.move_job(job, JobState.CANCELLED, "given up uncertain")
    group.quanta_lost = group.quanta_expected
    end_group(draft, group, GroupState.REJECTED, event.reason)


def held(draft: Draft, event: ev.GroupHeld) -> None:
    """Nothing more is submitted; what is outside goes on."""
    group = draft.group(event.group_id)
    if group.held:
        raise draft.refuse(group, "It is held already: release it to go on.")
    group.held = True
    group.due_at = None
    reason = event.reason or f"held by {event.actor}"
    if group.state is GroupState.HELD:
        draft.note(group, reason)
    elif group.state is GroupState.REVIEW:
        raise draft.refuse(
            group, "It waits for a person in REVIEW already: accept, retry or reject it."
        )
    else:
        draft.move_group(group, GroupState.HELD, reason)


def released(draft: Draft, event: ev.GroupReleased) -> None:
    """Back to where the group's jobs stand."""
    group, job = _at_cursor(draft, event.group_id)
    if group.state is not GroupState.HELD:
        raise draft.refuse(group, f"It is {group.state}; only a HELD group can be released.")
    if job.state is JobState.HELD and not group.held:
        raise draft.refuse(
            group, f"Its job {job.name} failed ({job.reason}): retry, accept or reject the group."
        )
    killed = draft.view.killed(group.facility) and job.state is not JobState.HELD
    if killed and job.state is not JobState.UNCERTAIN and not group.held:
        _check_not_killed(draft, group)
    group.held = False
    if group.facility is None:
        draft.move_group(group, GroupState.READY, event.reason)
    elif job.state is JobState.HELD:
        group.reason = f"{job.name}: {job.reason}"
        draft.note(group, f"hold taken back; job {job.name} still waits for a person")
    elif killed:
        group.stopped = True
        group.reason = stopped_words(draft.view.facilities[group.facility])
        draft.note(group, group.reason)
        if job.state is JobState.UNCERTAIN:
            job.cancelling = True
            look_again(draft, job, "looked up, to be ended if it is there")
    elif job.state is JobState.UNCERTAIN:
        draft.move_group(group, GroupState.RUNNING, event.reason)
        look_again(draft, job, event.reason or "looked up again")
    else:
        go_on(draft, group, job, event.reason)


def go_on(draft: Draft, group: Group, job: Job, reason: str) -> None:
    """A held group goes back to where its job at the cursor stands: neither held nor uncertain."""
    if group.started_at is None and group.cursor == 0 and job.state is JobState.READY:
        draft.move_group(group, GroupState.PLACED, reason)
    else:
        draft.move_group(group, GroupState.RUNNING, reason)
        settle_group(draft, group)


def timer_fired(draft: Draft, group: Group) -> None:
    """The pause before placing again is over; the engine asks the selector."""
    group.due_at = None


def stuck(view: View, group: Group) -> bool:
    """True if an uncertain job keeps the group from ending: only a person can help, cancelled or not."""
    return view.jobs[group.jobs[group.cursor]].state is JobState.UNCERTAIN


def _check_not_killed(draft: Draft, group: Group) -> None:
    if draft.view.killed(group.facility):
        state = draft.view.facilities[group.facility or ""]
        raise draft.refuse(
            group,
            f"{state.name} is stopped by the kill switch by {state.actor}: {state.reason}. Revive it "
            f"(cm revive {state.name}), or move the group.",
        )


def _at_cursor(draft: Draft, group_id: int) -> tuple[Group, Job]:
    group = draft.group(group_id)
    return group, draft.job(group.jobs[group.cursor])
