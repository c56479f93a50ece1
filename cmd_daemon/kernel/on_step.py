"""What follows from events about steps: splitting, signing, trying again."""

from collections.abc import Collection

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel import retry
from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Group, Job, Step
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.rollup import finish_step, settle_step
from cmd_daemon.kernel.states import Desired, JobState, StepState

SPLIT_AGAIN = 30 * retry.SECOND
"""Pause before a step whose data are not there yet is split again."""


def split(draft: Draft, event: ev.StepSplit) -> None:
    """Make groups with their jobs; with the last of them the step runs."""
    seen = draft.view.steps.get(event.step_id)
    if seen is None or seen.state is not StepState.PREPARING:
        return
    step = draft.step(event.step_id)
    if draft.peek_campaign(step.campaign_id).desired is Desired.CANCEL:
        return
    known: Collection[str] = draft.view.group_names.get(step.id, ())
    fresh = {new.name: new for new in event.groups if new.name not in known}
    for new in fresh.values():
        _add_group(draft, step, new)
    if not event.last:
        return
    step.tries = 0
    step.due_at = None
    if not step.group_counts:
        draft.move_step(
            step,
            StepState.HELD,
            "the split gave no group: the data query matches nothing. Correct the file and "
            "apply it again, or release the step once the data are there.",
        )
        return
    step.split_done = True
    draft.move_step(step, StepState.RUNNING)
    settle_step(draft, step)


def _add_group(draft: Draft, step: Step, new: ev.NewGroup) -> None:
    group_id = draft.new_id()
    jobs = [
        Job(
            draft.new_id(),
            step.campaign_id,
            step.id,
            group_id,
            template.name,
            template.kind,
            position,
            JobState.READY if position == 0 else JobState.WAITING,
            driver=template.driver or "",
        )
        for position, template in enumerate(new.jobs or step.policy.jobs)
    ]
    group = Group(
        group_id,
        step.campaign_id,
        step.id,
        new.name,
        new.share,
        tuple(job.id for job in jobs),
        region=new.region,
        created_at=draft.now,
    )
    draft.add_group(group, jobs)


def split_failed(draft: Draft, event: ev.SplitFailed) -> None:
    """Try again later, or hold the step for a person."""
    seen = draft.view.steps.get(event.step_id)
    if seen is None or seen.state is not StepState.PREPARING:
        return
    step = draft.step(event.step_id)
    if event.error_class is ErrorClass.NOT_YET:
        if step.reason != event.message:
            step.reason = event.message
            draft.note(step, event.message)
        step.due_at = draft.now + SPLIT_AGAIN
        return
    step.tries += 1
    if event.error_class is ErrorClass.PERMANENT or step.tries >= retry.SUBMIT_TRIES:
        step.due_at = None
        draft.move_step(step, StepState.HELD, f"cannot be split: {event.message}")
        return
    step.due_at = draft.now + retry.call_backoff(step.tries)
    step.reason = event.message
    draft.note(step, f"splitting failed, try {step.tries}: {event.message}")


def signed(draft: Draft, event: ev.StepSigned) -> None:
    """A person lets the steps after a breakpoint go on."""
    step = draft.step(event.step_id)
    if step.state is not StepState.REVIEW:
        hint = "" if step.policy.breakpoint else " and has no breakpoint"
        raise draft.refuse(step, f"It is {step.state}{hint}; only a step in REVIEW can be signed.")
    step.signed_by = event.actor
    finish_step(draft, step, StepState.ACCEPTED, event.reason)


def released(draft: Draft, event: ev.StepReleased) -> None:
    """A held step is split again."""
    step = draft.step(event.step_id)
    if step.state is not StepState.HELD:
        raise draft.refuse(step, f"It is {step.state}; only a HELD step can be released.")
    step.tries = 0
    draft.move_step(step, StepState.PREPARING, event.reason)
