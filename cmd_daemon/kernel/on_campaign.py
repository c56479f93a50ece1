"""What follows from events about campaigns."""

from dataclasses import replace

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Draft
from cmd_daemon.kernel.entities import Campaign, Step
from cmd_daemon.kernel.on_control import settle_pause
from cmd_daemon.kernel.on_job import cancel_job
from cmd_daemon.kernel.records import CampaignFile, Record
from cmd_daemon.kernel.rollup import (
    begin_step,
    drop_jobs,
    settle_group,
)
from cmd_daemon.kernel.states import (
    FINAL_CAMPAIGN,
    FINAL_STEP,
    CampaignState,
    Desired,
    StepState,
)

REMOVED = "removed from the campaign file"


def applied(draft: Draft, event: ev.CampaignApplied) -> None:
    """A new campaign in DRAFT, or a new version of the file for one that is not final."""
    if event.campaign_id is None:
        if (other := draft.view.campaign_ids.get(event.name)) is not None:
            raise draft.refuse(draft.view.campaigns[other], "It exists already; apply again.")
        campaign = draft.add_campaign(Campaign(draft.new_id(), event.name, event.owner, draft.now))
        draft.note(campaign, "applied version 1 of its file")
        for position, (name, policy) in enumerate(event.steps.items()):
            draft.add_step(
                Step(draft.new_id(), campaign.id, name, position, policy, unmet=len(policy.after))
            )
    else:
        campaign = draft.campaign(event.campaign_id)
        if campaign.desired is Desired.CANCEL:
            raise draft.refuse(campaign, "It is being cancelled; its file cannot change any more.")
        campaign.file_version += 1
        campaign.owner = event.owner
        _merge_steps(draft, campaign, event)
        draft.note(campaign, f"applied version {campaign.file_version} of its file")
    draft.decision.files.append(
        CampaignFile(
            campaign.id,
            campaign.file_version,
            draft.now,
            event.actor,
            event.text,
            event.parameters,
            event.digest,
            event.ticket,
            event.changes,
        )
    )
    if event.start and campaign.state is CampaignState.DRAFT:
        _start(draft, campaign)


def _merge_steps(draft: Draft, campaign: Campaign, event: ev.CampaignApplied) -> None:
    present = draft.steps_of(campaign.id)
    for position, (name, policy) in enumerate(event.steps.items()):
        if name not in present:
            draft.add_step(Step(draft.new_id(), campaign.id, name, position, policy))
            continue
        step = draft.step(present[name].id)
        if step.reason == REMOVED:
            raise draft.refuse(step, "It was removed by an earlier version; use another name.")
        if step.state is StepState.HELD and step.policy != policy:
            step.tries = 0
            draft.move_step(step, StepState.PREPARING, "its file changed: split again")
        step.position = position
        step.policy = policy
    for name, old in present.items():
        if name not in event.steps and old.state not in FINAL_STEP:
            _remove(draft, draft.step(old.id))
    steps = draft.steps_of(campaign.id)
    for name in event.steps:
        if steps[name].state is StepState.WAITING:
            _wait_anew(draft, campaign, draft.step(steps[name].id), steps)


def _remove(draft: Draft, step: Step) -> None:
    """Take a step out that a new version of the file no longer has."""
    begun = step.state not in (StepState.WAITING, StepState.HELD)
    if begun or step.split_done or step.group_counts:
        raise draft.refuse(
            step,
            f"It is {step.state} and cannot be removed any more: leave it in the file, and reject "
            "its groups, sign it or cancel the campaign.",
        )
    step.policy = replace(step.policy, optional=True, after=())
    step.unmet = 0
    draft.move_step(step, StepState.CANCELLED, REMOVED)


def _wait_anew(draft: Draft, campaign: Campaign, step: Step, steps: dict[str, Step]) -> None:
    """Count again what a step waits for; it begins if that is nothing."""
    before = [steps[name] for name in step.policy.after]
    for other in before:
        if other.state in (StepState.FAILED, StepState.CANCELLED):
            raise draft.refuse(
                step,
                f"It comes after step {other.name}, which is {other.state}: it could never run.",
            )
    step.unmet = sum(other.state is not StepState.ACCEPTED for other in before)
    if not step.unmet and campaign.state is not CampaignState.DRAFT:
        begin_step(draft, step)


def started(draft: Draft, event: ev.CampaignStarted) -> None:
    """DRAFT to RUNNING; the steps that wait for none begin."""
    campaign = draft.campaign(event.campaign_id)
    if campaign.state is not CampaignState.DRAFT:
        raise draft.refuse(campaign, f"It is {campaign.state}; only a DRAFT can be started.")
    _start(draft, campaign)


def _start(draft: Draft, campaign: Campaign) -> None:
    campaign.started_at = draft.now
    draft.move_campaign(campaign, CampaignState.RUNNING)
    for step in draft.steps_of(campaign.id).values():
        if not step.unmet and step.state is StepState.WAITING:
            begin_step(draft, draft.step(step.id))


def paused(draft: Draft, event: ev.CampaignPaused) -> None:
    """Nothing new is submitted from now on; PAUSED once all that is outside is paused too. The engine
    sweeps what is outside."""
    campaign = draft.campaign(event.campaign_id)
    if campaign.state is not CampaignState.RUNNING or campaign.desired is not Desired.RUN:
        raise draft.refuse(
            campaign, f"It is {_shown(campaign)}; only a RUNNING campaign can be paused."
        )
    campaign.desired = Desired.PAUSE
    campaign.reason = event.reason or None
    draft.note(campaign, event.reason or "pause wanted")


def resumed(draft: Draft, event: ev.CampaignResumed) -> None:
    """Takes a pause back; the engine sweeps what is paused outside."""
    campaign = draft.campaign(event.campaign_id)
    if campaign.desired is not Desired.PAUSE:
        raise draft.refuse(campaign, f"It is {_shown(campaign)}, not paused: nothing to resume.")
    campaign.desired = Desired.RUN
    campaign.reason = None
    if campaign.state is CampaignState.PAUSED:
        draft.move_campaign(campaign, CampaignState.RUNNING)
    else:
        draft.note(campaign, "resumed before the pause was reached")


def cancelled(draft: Draft, event: ev.CampaignCancelled) -> None:
    """Steps without groups end at once; the engine sweeps the groups of the others."""
    campaign = draft.campaign(event.campaign_id)
    if campaign.desired is Desired.CANCEL:
        raise draft.refuse(campaign, "It is being cancelled already.")
    campaign.desired = Desired.CANCEL
    draft.note(campaign, event.reason or "cancel wanted")
    for seen in draft.steps_of(campaign.id).values():
        if seen.state in FINAL_STEP:
            continue
        step = draft.step(seen.id)
        if step.state in (StepState.PREPARING, StepState.HELD) and step.open_groups:
            # Split half way: no more shares will be taken, the groups made so far are swept.
            step.split_done = True
            step.due_at = None
            if step.state is StepState.HELD:
                draft.move_step(step, StepState.PREPARING)
            draft.move_step(step, StepState.RUNNING)
        elif not step.open_groups:
            draft.move_step(step, StepState.CANCELLED)
    if campaign.state is CampaignState.DRAFT:
        campaign.finished_at = draft.now
        draft.move_campaign(campaign, CampaignState.CANCELLED, event.reason)


def swept(draft: Draft, event: ev.GroupsSwept) -> None:
    """As the campaign is wanted by now: cancel these groups, what is inside at once and what is outside by
    its driver; or have what is outside stand still, or go on."""
    desired = draft.peek_campaign(event.campaign_id).desired
    for ident in event.group_ids:
        seen = draft.view.groups.get(ident)
        if seen is None or seen.campaign_id != event.campaign_id:
            continue
        if desired is not Desired.CANCEL:
            settle_pause(draft, seen.jobs[seen.cursor])
            continue
        group = draft.group(ident)
        group.due_at = None
        drop_jobs(draft, group)
        for job in group.jobs:
            cancel_job(draft, job)
        settle_group(draft, group)


def archived(draft: Draft, event: ev.CampaignArchived) -> None:
    """A final campaign is put away."""
    campaign = draft.campaign(event.campaign_id)
    if campaign.state not in FINAL_CAMPAIGN:
        raise draft.refuse(campaign, f"It is {_shown(campaign)}; cancel it or let it end first.")
    draft.move_campaign(campaign, CampaignState.ARCHIVED, event.reason)


def removed(draft: Draft, event: ev.CampaignRemoved) -> None:
    """The record of a campaign that leaves the database: the only one of it that stays."""
    if (campaign := draft.view.campaigns.get(event.campaign_id)) is not None:
        raise draft.refuse(campaign, f"It is {_shown(campaign)}, not archived.")
    state = str(CampaignState.ARCHIVED)
    draft.decision.records.append(
        Record(
            "campaign",
            f"campaigns/{event.campaign}",
            event.campaign_id,
            None,
            None,
            None,
            state,
            state,
            draft.cause,
            event.actor,
            draft.now,
            f"removed from the database; its history is in {event.file}",
        )
    )


def _shown(campaign: Campaign) -> str:
    if campaign.state in FINAL_CAMPAIGN:
        return campaign.state
    if campaign.desired is Desired.CANCEL:
        return "CANCELLING"
    if campaign.desired is Desired.PAUSE and campaign.state is CampaignState.RUNNING:
        return "PAUSING"
    return campaign.state
