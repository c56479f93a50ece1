"""Cascades upward: what a finished job, group or step means for what is above it and after it.

Each function looks only at counters and at the entity's own neighbours, never at all siblings.
"""

from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Campaign, Group, Step
from cmd_daemon.kernel.states import (
    FINAL_JOB,
    CampaignState,
    Desired,
    GroupState,
    JobState,
    StepState,
)


def begin_step(draft: Draft, step: Step) -> None:
    """All steps before it are accepted: split it, or ask a person if it is a pure breakpoint."""
    step.started_at = draft.now
    if step.policy.jobs:
        draft.move_step(step, StepState.PREPARING)
    else:
        draft.move_step(step, StepState.REVIEW, step.policy.breakpoint or "")


def settle_group(draft: Draft, group: Group) -> None:
    """Go on with the group's chain as far as nothing outside is waited for.

    Called when the job at the cursor has changed. A held group stays where it is.
    """
    campaign = draft.peek_campaign(group.campaign_id)
    if campaign.desired is Desired.CANCEL:
        _settle_cancelled(draft, group)
        return
    if group.state is not GroupState.RUNNING:
        return
    while draft.peek_job(group.jobs[group.cursor]).state is JobState.SUCCEEDED:
        if group.cursor + 1 == len(group.jobs):
            reason = f"{group.quanta_lost} quanta lost" if group.quanta_lost else ""
            draft.move_group(group, GroupState.ACCEPTED, reason)
            settle_step(draft, draft.step(group.step_id))
            return
        group.cursor += 1
    job = draft.peek_job(group.jobs[group.cursor])
    if job.state is JobState.WAITING:
        draft.move_job(draft.job(job.id), JobState.READY)


def _settle_cancelled(draft: Draft, group: Group) -> None:
    if all(draft.peek_job(job).state in FINAL_JOB for job in group.jobs):
        draft.move_group(group, GroupState.CANCELLED)
        settle_step(draft, draft.step(group.step_id))


def drop_jobs(draft: Draft, group: Group) -> None:
    """Cancel the group's jobs that are not outside."""
    for ident in group.jobs:
        if draft.peek_job(ident).state in (JobState.WAITING, JobState.READY, JobState.HELD):
            job = draft.job(ident)
            job.due_at = None
            draft.move_job(job, JobState.CANCELLED)


def end_group(draft: Draft, group: Group, to: GroupState, reason: str) -> None:
    """End a group for good, as FAILED or REJECTED, with what is left of its chain."""
    drop_jobs(draft, group)
    draft.move_group(group, to, reason)
    settle_step(draft, draft.step(group.step_id))


def settle_step(draft: Draft, step: Step) -> None:
    """End the step if all its groups are final."""
    if step.open_groups or not step.split_done or step.state is not StepState.RUNNING:
        return
    counts = step.group_counts
    campaign = draft.peek_campaign(step.campaign_id)
    if campaign.desired is Desired.CANCEL:
        finish_step(draft, step, StepState.CANCELLED)
    elif failed := counts.get(GroupState.FAILED, 0):
        finish_step(draft, step, StepState.FAILED, f"{failed} groups failed")
    elif not counts.get(GroupState.ACCEPTED, 0):
        finish_step(draft, step, StepState.FAILED, "no group was accepted")
    elif step.policy.breakpoint:
        draft.move_step(step, StepState.REVIEW, step.policy.breakpoint)
    else:
        finish_step(draft, step, StepState.ACCEPTED)


def finish_step(draft: Draft, step: Step, to: StepState, reason: str = "") -> None:
    """Put a step in a final state, and let the steps after it know."""
    draft.move_step(step, to, reason)
    for seen in draft.steps_of(step.campaign_id).values():
        # Looked at anew: an earlier turn of the loop may have ended it through another step.
        other = draft.peek_step(seen.id)
        if other.state is not StepState.WAITING or step.name not in other.policy.after:
            continue
        after = draft.step(other.id)
        if to is not StepState.ACCEPTED:
            finish_step(draft, after, StepState.CANCELLED, f"step {step.name} is {to}")
            continue
        after.unmet -= 1
        if not after.unmet:
            begin_step(draft, after)


def settle_campaign(draft: Draft, campaign: Campaign) -> None:
    """End the campaign if all its steps are final; show a pause once all that is outside is paused too.

    `decide` calls it once an event, when everything else that follows is in the draft.
    """
    if campaign.open_steps == 0 and campaign.state in (
        CampaignState.RUNNING,
        CampaignState.PAUSED,
    ):
        _finish_campaign(draft, campaign)
    elif (
        campaign.desired is Desired.PAUSE
        and campaign.in_flight == campaign.paused
        and campaign.state is CampaignState.RUNNING
    ):
        draft.move_campaign(campaign, CampaignState.PAUSED, campaign.reason or "")


def _finish_campaign(draft: Draft, campaign: Campaign) -> None:
    campaign.finished_at = draft.now
    if campaign.desired is Desired.CANCEL:
        draft.move_campaign(campaign, CampaignState.CANCELLED)
        return
    missing = [
        name
        for name, step in draft.steps_of(campaign.id).items()
        if step.state is not StepState.ACCEPTED and not step.policy.optional
    ]
    if missing:
        reason = f"steps not accepted: {', '.join(sorted(missing))}"
        draft.move_campaign(campaign, CampaignState.FAILED, reason)
    else:
        draft.move_campaign(campaign, CampaignState.ACCEPTED)
