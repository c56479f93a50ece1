"""What follows from events about schedules. A launch and the note that it was made are one decision, so
that a time is never launched twice."""

import json
from dataclasses import replace

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel import on_campaign
from cmd_daemon.kernel.draft import Draft, Refused
from cmd_daemon.kernel.entities import Campaign
from cmd_daemon.kernel.records import Record, Schedule, ScheduleRun
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, Desired, RunOutcome, ScheduleState

NEW = "NEW"
"""Where a schedule comes from, in its first event."""


def applied(draft: Draft, event: ev.ScheduleApplied) -> None:
    """A new schedule, or another version of one: a pause stays, a removed one is back."""
    former = draft.view.schedules.get(event.schedule)
    state = ScheduleState.ACTIVE
    if former is not None and former.state is ScheduleState.PAUSED:
        state = ScheduleState.PAUSED
    schedule = Schedule(
        name=event.schedule,
        version=1 if former is None else former.version + 1,
        owner=event.owner,
        cron=event.cron,
        zone=event.zone,
        overlap=event.overlap,
        text=event.text,
        template=event.template,
        template_file=event.template_file,
        state=state,
        reason=event.reason,
        actor=event.actor,
        at=draft.now,
        next_at=event.next_at if state is ScheduleState.ACTIVE else None,
    )
    if former is not None:
        schedule.last_at, schedule.last_campaigns = former.last_at, former.last_campaigns
        if state is ScheduleState.ACTIVE:
            schedule.queued_at = former.queued_at
    _put(draft, former, schedule, event.reason or f"applied version {schedule.version} of its file")


def paused(draft: Draft, event: ev.SchedulePaused) -> None:
    """Nothing is launched until it is resumed; what is queued is dropped."""
    former = _known(draft, event)
    if former.state is ScheduleState.PAUSED:
        raise _refuse(draft, former, "It is paused already.")
    if former.queued_at is not None:
        _run(draft, former.name, former.queued_at, RunOutcome.SKIPPED, "the schedule was paused")
    _put(
        draft,
        former,
        _changed(draft, former, state=ScheduleState.PAUSED, next_at=None),
        event.reason,
    )


def resumed(draft: Draft, event: ev.ScheduleResumed) -> None:
    """It launches again, from its next time on."""
    former = _known(draft, event)
    if former.state is not ScheduleState.PAUSED:
        raise _refuse(draft, former, "It is not paused: there is nothing to resume.")
    changed = _changed(draft, former, state=ScheduleState.ACTIVE, next_at=event.next_at)
    _put(draft, former, changed, event.reason)


def removed(draft: Draft, event: ev.ScheduleRemoved) -> None:
    """It launches nothing any more; campaigns it has launched go on."""
    former = _known(draft, event)
    if former.queued_at is not None:
        _run(draft, former.name, former.queued_at, RunOutcome.SKIPPED, "the schedule was removed")
    _put(
        draft,
        former,
        _changed(draft, former, state=ScheduleState.REMOVED, next_at=None),
        event.reason,
    )


def due(draft: Draft, event: ev.ScheduleDue) -> None:
    """Launch, or write down why not. Void if the schedule is another, or further, by now."""
    if event.by_hand:
        schedule = _known(draft, event)
        if event.problem:
            raise _refuse(draft, schedule, event.problem)
        _launch(draft, schedule, event, replace(schedule))
        return
    former = draft.view.schedules.get(event.schedule)
    if former is None or former.state is not ScheduleState.ACTIVE or event.expected is None:
        return
    queued = event.expected == former.queued_at
    if not queued and event.expected != former.next_at:
        return
    changed = replace(former, last_at=event.due_at)
    if queued:
        changed.queued_at = None
    else:
        changed.next_at = event.next_at
    still = _open(draft, former)
    if event.late or event.problem:
        outcome = RunOutcome.SKIPPED if event.late else RunOutcome.REFUSED
        _run(draft, former.name, event.due_at, outcome, event.late or event.problem)
        _put(draft, former, changed, event.late or event.problem)
    elif still and former.overlap == "skip":
        words = f"{still[0].name} of the last launch still runs"
        _run(draft, former.name, event.due_at, RunOutcome.SKIPPED, words)
        _put(draft, former, changed, words)
    elif still and former.overlap == "queue":
        if former.queued_at is not None and not queued:
            words = "a later time took its place in the queue"
            _run(draft, former.name, former.queued_at, RunOutcome.SKIPPED, words)
        changed.queued_at = event.due_at
        words = f"begins when {still[0].name} of the last launch has ended"
        _run(draft, former.name, event.due_at, RunOutcome.QUEUED, words)
        _put(draft, former, changed, words)
    else:
        for campaign in still:
            if campaign.desired is not Desired.CANCEL:
                on_campaign.cancelled(draft, ev.CampaignCancelled(campaign_id=campaign.id))
        _launch(draft, former, event, changed)


def _launch(draft: Draft, former: Schedule, event: ev.ScheduleDue, changed: Schedule) -> None:
    for each in event.campaigns:
        on_campaign.applied(draft, each)
    names = json.dumps([each.name for each in event.campaigns])
    changed.last_campaigns = names
    words = f"launched {', '.join(each.name for each in event.campaigns)}"
    _run(draft, former.name, event.due_at, RunOutcome.LAUNCHED, event.reason, names)
    _put(draft, former, changed, words)


def _open(draft: Draft, schedule: Schedule) -> list[Campaign]:
    """The campaigns of the last launch that are not final."""
    found = []
    for name in json.loads(schedule.last_campaigns):
        ident = draft.view.campaign_ids.get(name)
        if ident is not None and draft.view.campaigns[ident].state not in FINAL_CAMPAIGN:
            found.append(draft.campaign(ident))
    return found


def _known(draft: Draft, event: ev.ScheduleEvent) -> Schedule:
    schedule = draft.view.schedules.get(event.schedule)
    if schedule is None or schedule.state is ScheduleState.REMOVED:
        state = NEW if schedule is None else str(schedule.state)
        raise Refused(
            f"schedules/{event.schedule}",
            state,
            draft.cause,
            "There is no such schedule (any more).",
        )
    return schedule


def _changed(
    draft: Draft, former: Schedule, *, state: ScheduleState, next_at: int | None
) -> Schedule:
    event = draft.event
    return replace(
        former,
        version=former.version + 1,
        state=state,
        reason=event.reason,
        actor=event.actor,
        at=draft.now,
        next_at=next_at,
        queued_at=None,
    )


def _put(draft: Draft, former: Schedule | None, schedule: Schedule, reason: str) -> None:
    runs = draft.decision.schedule_runs
    draft.decision.schedules[schedule.name] = schedule
    draft.decision.records.append(
        Record(
            "schedule",
            f"schedules/{schedule.name}",
            None,
            None,
            None,
            None,
            NEW if former is None else str(former.state),
            str(schedule.state),
            draft.cause,
            draft.event.actor,
            draft.now,
            reason,
            request_id=draft.event.request_id,
            detail=json.dumps({"outcome": runs[-1].outcome}) if runs else None,
        )
    )


def _run(
    draft: Draft, name: str, due_at: int, outcome: RunOutcome, reason: str, campaigns: str = "[]"
) -> None:
    draft.decision.schedule_runs.append(
        ScheduleRun(name, due_at, draft.now, outcome, draft.event.actor, reason, campaigns)
    )


def _refuse(draft: Draft, schedule: Schedule, message: str) -> Refused:
    return Refused(f"schedules/{schedule.name}", str(schedule.state), draft.cause, message)
