"""`decide`: one event in, all its consequences out. Pure: no clock, no I/O, no state of its own."""

from collections.abc import Callable
from typing import Any

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel import (
    on_campaign,
    on_control,
    on_facility,
    on_group,
    on_job,
    on_move,
    on_schedule,
    on_step,
)
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.draft import Draft, Refused
from cmd_daemon.kernel.rollup import settle_campaign
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, CampaignState, Desired
from cmd_daemon.kernel.view import View


def _timer_fired(draft: Draft, event: ev.TimerFired) -> None:
    view, ident = draft.view, event.entity_id
    if ident in view.jobs:
        if view.jobs[ident].due_at == event.due_at:
            on_job.timer_fired(draft, draft.job(ident))
    elif ident in view.groups:
        if view.groups[ident].due_at == event.due_at:
            on_group.timer_fired(draft, draft.group(ident))
    elif ident in view.steps and view.steps[ident].due_at == event.due_at:
        draft.step(ident).due_at = None


HANDLERS: dict[type[ev.Event], Callable[[Draft, Any], None]] = {
    ev.CampaignApplied: on_campaign.applied,
    ev.CampaignStarted: on_campaign.started,
    ev.CampaignPaused: on_campaign.paused,
    ev.CampaignResumed: on_campaign.resumed,
    ev.CampaignCancelled: on_campaign.cancelled,
    ev.CampaignArchived: on_campaign.archived,
    ev.CampaignRemoved: on_campaign.removed,
    ev.GroupsSwept: on_campaign.swept,
    ev.StepSplit: on_step.split,
    ev.SplitFailed: on_step.split_failed,
    ev.StepSigned: on_step.signed,
    ev.StepReleased: on_step.released,
    ev.GroupPlaced: on_group.placed,
    ev.GroupNotPlaced: on_group.not_placed,
    ev.GroupRecalled: on_move.recalled,
    ev.GroupMoved: on_move.moved,
    ev.GroupRetried: on_group.retried,
    ev.GroupAccepted: on_group.accepted,
    ev.GroupRejected: on_group.rejected,
    ev.GroupHeld: on_group.held,
    ev.GroupReleased: on_group.released,
    ev.JobAdmitted: on_job.admitted,
    ev.JobTooBig: on_job.too_big,
    ev.JobTaken: on_job.taken,
    ev.SubmitFailed: on_job.submit_failed,
    ev.LookUpFailed: on_job.look_up_failed,
    ev.JobAbsent: on_job.absent,
    ev.JobSeen: on_job.seen,
    ev.JobEnded: on_job.ended,
    ev.JobGone: on_job.gone,
    ev.CancelFailed: on_job.cancel_failed,
    ev.JobCommanded: on_control.commanded,
    ev.CommandAnswered: on_control.answered,
    ev.TimerFired: _timer_fired,
    ev.FacilityDrained: on_facility.drained,
    ev.FacilityLimited: on_facility.limited,
    ev.FacilityKilled: on_facility.killed,
    ev.FacilityRevived: on_facility.revived,
    ev.FacilitySwept: on_facility.swept,
    ev.ScheduleApplied: on_schedule.applied,
    ev.SchedulePaused: on_schedule.paused,
    ev.ScheduleResumed: on_schedule.resumed,
    ev.ScheduleRemoved: on_schedule.removed,
    ev.ScheduleDue: on_schedule.due,
}


def decide(view: View, event: ev.Event, now: int) -> Decision:
    """The decision on an event at a moment (microseconds UTC).

    Observations about something that is over give an empty decision. Raises Refused for a person's
    wish that does not fit; the view is never touched.
    """
    draft = Draft(view, event, now)
    kind = type(event)
    decision = draft.decision
    guard = GUARDS.get(kind)
    if guard is None or guard(draft, event):
        HANDLERS[kind](draft, event)
        # Whatever ended a step or took the last job from outside, it is seen here.
        for changed in decision.campaigns.values():
            settle_campaign(draft, changed)
    decision.next_id = draft.next_id
    return decision


def _campaign_open(draft: Draft, event: ev.CampaignEvent | ev.CampaignApplied) -> bool:
    if event.campaign_id is None:
        return True
    campaign = draft.view.campaigns.get(event.campaign_id)
    if campaign is None:
        raise _over("campaign", event)
    if campaign.state in FINAL_CAMPAIGN and not isinstance(event, ev.CampaignArchived):
        raise draft.refuse(campaign, f"It is {campaign.state}, which is final.")
    return True


def _campaign_known(draft: Draft, event: ev.GroupsSwept) -> bool:
    return event.campaign_id in draft.view.campaigns


def _step_live(draft: Draft, event: ev.StepEvent) -> bool:
    step = draft.view.steps.get(event.step_id)
    if step is None:
        raise _over("step", event)
    _check_live(draft, step.campaign_id)
    return True


def _group_live(draft: Draft, event: ev.GroupEvent) -> bool:
    group = draft.view.groups.get(event.group_id)
    if group is None:
        raise _over("group", event)
    helps = isinstance(event, ev.GroupRejected | ev.GroupReleased)
    if not (helps and on_group.stuck(draft.view, group)):
        _check_live(draft, group.campaign_id)
    return True


def _job_live(draft: Draft, event: ev.JobCommanded) -> bool:
    job = draft.view.jobs.get(event.job_id)
    if job is None:
        raise _over("job", event)
    _check_live(draft, job.campaign_id)
    return True


GUARDS: dict[type[ev.Event], Callable[[Draft, Any], bool]] = {
    ev.CampaignApplied: _campaign_open,
    ev.CampaignStarted: _campaign_open,
    ev.CampaignPaused: _campaign_open,
    ev.CampaignResumed: _campaign_open,
    ev.CampaignCancelled: _campaign_open,
    ev.CampaignArchived: _campaign_open,
    ev.GroupsSwept: _campaign_known,
    ev.StepSigned: _step_live,
    ev.StepReleased: _step_live,
    ev.GroupRetried: _group_live,
    ev.GroupAccepted: _group_live,
    ev.GroupRejected: _group_live,
    ev.GroupHeld: _group_live,
    ev.GroupReleased: _group_live,
    ev.GroupMoved: _group_live,
    ev.JobCommanded: _job_live,
}
"""What must hold before the handler is asked: False makes the event void, a wish is refused."""


def _check_live(draft: Draft, campaign_id: int) -> None:
    campaign = draft.view.campaigns[campaign_id]
    if campaign.state in FINAL_CAMPAIGN:
        raise draft.refuse(campaign, f"The campaign is {campaign.state}, which is final.")
    if campaign.desired is Desired.CANCEL:
        raise draft.refuse(campaign, "The campaign is being cancelled: its work ends by itself.")
    if campaign.state is CampaignState.DRAFT:
        raise draft.refuse(campaign, "The campaign is a DRAFT: start it first.")


def _over(kind: str, event: ev.Event) -> Refused:
    return Refused(
        "", "final", type(event).__name__, f"This {kind} is final: nothing can change it."
    )
