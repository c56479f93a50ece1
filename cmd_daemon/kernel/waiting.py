"""What an entity waits for, and what a person can do about it: the two questions of `cm why`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from cmd_daemon.kernel import commands
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command
from cmd_daemon.kernel.decide import decide
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.states import (
    FINAL_CAMPAIGN,
    FINAL_GROUP,
    FINAL_JOB,
    FINAL_STEP,
    IN_FLIGHT_JOB,
    CampaignState,
    Desired,
    GroupState,
    JobKind,
    JobState,
    Standing,
    StepState,
)
from cmd_daemon.kernel.verdict import FROM_START, MISSING_ONLY
from cmd_daemon.kernel.view import View


class WaitKind(StrEnum):
    """Who or what has to move next."""

    TIMER = "timer"
    EFFECT = "effect"
    OUTSIDE = "outside"
    PERSON = "person"
    SLOT = "slot"
    PLACING = "placing"
    SPLITTING = "splitting"
    STEP = "step"
    JOB = "job"
    BELOW = "below"
    PAUSE = "pause"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing an entity waits for: a sentence for people, the resource name of what is waited for
    if it has one, since when, and until when if that is known (microseconds UTC)."""

    kind: WaitKind
    text: str
    name: str = ""
    since: int | None = None
    until: int | None = None


def waits_for(view: View, entity: Entity) -> list[Wait]:
    """What the entity waits for, most important first. Empty if, and only if, it is final: an open
    entity that waits for nothing would stand still for ever. `entity` is one of the view."""
    match entity:
        case Campaign():
            return list(_campaign(view, entity))
        case Step():
            return list(_step(view, entity))
        case Group():
            return list(_group(view, entity))
        case Job():
            return list(_job(view, entity))


def actions(view: View, entity: Entity) -> list[str]:
    """The `cm` commands a person can run now, most useful first.

    Each was tried on the view: none would be refused as things stand. For a job they are those
    of its group.
    """
    return [words for words, event in _wishes(view, entity) if _fits(view, event)]


def clock_text(at: int) -> str:
    """A moment (microseconds UTC) as people read it: with the date, seconds left out."""
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


# --- waits -------------------------------------------------------------------------------------


def _campaign(view: View, campaign: Campaign) -> Iterator[Wait]:
    if campaign.state in FINAL_CAMPAIGN:
        return
    outside = f"{campaign.in_flight} jobs that are outside"
    if campaign.state is CampaignState.DRAFT:
        yield Wait(WaitKind.PERSON, "is a draft: start it", since=campaign.created_at)
    elif campaign.desired is Desired.CANCEL:
        if campaign.open_steps:
            yield Wait(WaitKind.BELOW, f"is being cancelled: waits for {outside} to end")
    elif campaign.state is CampaignState.PAUSED:
        still = f"; {campaign.paused} jobs are paused outside" if campaign.paused else ""
        yield Wait(WaitKind.PERSON, f"is paused{_why(campaign.reason)}: resume it{still}")
    elif campaign.desired is Desired.PAUSE:
        if campaign.in_flight > campaign.paused:
            left = campaign.in_flight - campaign.paused
            text = f"is pausing: waits for {left} jobs that are outside to end, or to be paused"
            yield Wait(WaitKind.BELOW, text)
    else:
        for ident in view.steps_of[campaign.id].values():
            step = view.steps[ident]
            if step.state not in (*FINAL_STEP, StepState.WAITING):
                yield Wait(
                    WaitKind.BELOW,
                    f"waits for step {step.name} ({step.state}{_why(step.reason)})",
                    view.step_name(step),
                    step.started_at,
                )


def _step(view: View, step: Step) -> Iterator[Wait]:
    campaign = view.campaigns[step.campaign_id]
    match step.state:
        case StepState.WAITING:
            siblings = view.steps_of[campaign.id]
            for name in step.policy.after:
                other = view.steps[siblings[name]]
                if other.state is not StepState.ACCEPTED:
                    yield Wait(
                        WaitKind.STEP,
                        f"waits for step {name}, which is {other.state}",
                        view.step_name(other),
                        other.started_at,
                    )
            if campaign.state is CampaignState.DRAFT:
                yield Wait(WaitKind.PERSON, "waits for the campaign to be started")
        case StepState.PREPARING:
            if step.due_at is not None:
                yield Wait(
                    WaitKind.TIMER,
                    f"is split again at {clock_text(step.due_at)}{_after(step.reason)}",
                    until=step.due_at,
                )
            elif campaign.desired is Desired.RUN:
                text = f"its data are being split into groups ({step.policy.split.splitter})"
                yield Wait(WaitKind.SPLITTING, text, since=step.started_at)
            if campaign.desired is Desired.PAUSE:
                yield _pause(view, campaign)
        case StepState.RUNNING:
            if step.open_groups:
                states = {
                    state: n for state, n in step.group_counts.items() if state not in FINAL_GROUP
                }
                told = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
                yield Wait(WaitKind.BELOW, f"waits for {step.open_groups} groups: {told}")
        case StepState.REVIEW:
            yield Wait(WaitKind.PERSON, f"waits to be signed{_why(step.reason)}")
        case StepState.HELD:
            yield Wait(WaitKind.PERSON, f"needs a person{_why(step.reason)}")


def _group(view: View, group: Group) -> Iterator[Wait]:
    if group.state in FINAL_GROUP:
        return
    campaign = view.campaigns[group.campaign_id]
    job = view.jobs[group.jobs[group.cursor]]
    cancelling = campaign.desired is Desired.CANCEL
    if cancelling and job.state in FINAL_JOB:
        yield _sweep()
    elif group.state in (GroupState.HELD, GroupState.REVIEW):
        if not cancelling:
            yield Wait(WaitKind.PERSON, f"needs a person{_why(group.reason)}")
        if job.state in IN_FLIGHT_JOB or cancelling:
            yield from _job(view, job)
    elif group.state is GroupState.READY:
        yield from _placing(view, campaign, group)
    else:
        yield from _job(view, job)


def _placing(view: View, campaign: Campaign, group: Group) -> Iterator[Wait]:
    if campaign.desired is Desired.CANCEL:
        yield _sweep()
        return
    if campaign.desired is Desired.PAUSE:
        yield _pause(view, campaign)
    if group.due_at is not None:
        yield Wait(
            WaitKind.TIMER,
            f"is placed again at {clock_text(group.due_at)}{_after(group.reason)}",
            until=group.due_at,
        )
    elif campaign.desired is Desired.RUN:
        algorithm = view.steps[group.step_id].policy.placement.algorithm
        text = f"waits for a facility to be chosen ({algorithm})"
        if group.pinned is not None:
            text = f"waits to be placed at {group.pinned}, where a person moved it"
        yield Wait(WaitKind.PLACING, text, since=group.created_at)


def _job(view: View, job: Job) -> Iterator[Wait]:
    campaign = view.campaigns[job.campaign_id]
    group = view.groups[job.group_id]
    where = f"{job.facility} (driver {job.driver})"
    if job.state in FINAL_JOB:
        return
    if job.state is JobState.SUBMITTING:
        if job.due_at is None:
            yield Wait(WaitKind.EFFECT, f"is being submitted to {where}")
        else:
            yield Wait(
                WaitKind.TIMER,
                f"its submission is looked up, and made again if need be, at "
                f"{clock_text(job.due_at)}{_after(job.reason)}",
                until=job.due_at,
            )
    elif job.state is JobState.RUNNING:
        yield from _outside(view, campaign, job, where)
    elif job.state is JobState.UNCERTAIN:
        yield Wait(WaitKind.PERSON, f"needs a person: {job.reason}")
    elif campaign.desired is Desired.CANCEL:
        yield _sweep()
    elif job.state is JobState.HELD:
        yield Wait(WaitKind.PERSON, f"needs a person{_why(job.reason)}")
    elif job.state is JobState.WAITING:
        at = view.jobs[group.jobs[group.cursor]]
        yield Wait(
            WaitKind.JOB,
            f"waits for job {at.name}, which is {at.state}",
            view.job_name(at),
        )
    else:
        yield from _ready(view, campaign, group, job)


_UNCLEAR = (Standing.PAUSING, Standing.RESUMING)


def _outside(view: View, campaign: Campaign, job: Job, where: str) -> Iterator[Wait]:
    """An attempt that the outside system has: asked for something, paused, or at work."""
    if job.cancelling:
        yield Wait(WaitKind.EFFECT, f"{where} was asked to end it", until=job.due_at)
    elif queue := commands.read(job.commands):
        first, *others = queue
        after = f", then for {', '.join(w.label for w in others)}" if others else ""
        text = f"{where} was asked for: {first.label}{after}{_why(first.message)}"
        yield Wait(WaitKind.EFFECT, text, until=first.until)
    elif job.standing in _UNCLEAR and campaign.desired is not Desired.CANCEL:
        yield Wait(WaitKind.PERSON, f"may be paused or not at {where}{_why(job.reason)}")
    since = job.started_at or job.submitted_at
    if job.standing is not Standing.PAUSED:
        doing = "runs" if job.started_at else "is queued"
        told = _why(job.reason) if job.standing is Standing.GOING else ""
        yield Wait(WaitKind.OUTSIDE, f"{doing} at {where} as {job.ref}{told}", since=since)
        return
    paused = f"is paused at {where} as {job.ref}"
    if job.pause_wanted:
        yield Wait(WaitKind.PAUSE, f"{paused}, as a person wanted: resume it", view.job_name(job))
    elif campaign.desired is Desired.PAUSE:
        name = view.campaign_name(campaign)
        yield Wait(WaitKind.PAUSE, f"{paused}: the campaign is{_why(campaign.reason)}", name)
    else:
        yield Wait(WaitKind.OUTSIDE, paused, since=since)


def _ready(view: View, campaign: Campaign, group: Group, job: Job) -> Iterator[Wait]:
    if job.due_at is not None:
        yield Wait(
            WaitKind.TIMER,
            f"is tried again at {clock_text(job.due_at)}{_after(job.reason)}",
            until=job.due_at,
        )
    if group.state is GroupState.HELD:
        yield Wait(
            WaitKind.PERSON, f"its group is held{_why(group.reason)}", view.group_name(group)
        )
    elif group.state is GroupState.READY:
        yield from _placing(view, campaign, group)
    elif campaign.desired is Desired.PAUSE:
        yield _pause(view, campaign)
    elif job.due_at is None:
        text = f"waits for a slot at {job.facility} (driver {job.driver})"
        yield Wait(WaitKind.SLOT, text, f"facilities/{job.facility}")


def _pause(view: View, campaign: Campaign) -> Wait:
    text = f"the campaign is paused{_why(campaign.reason)}"
    return Wait(WaitKind.PAUSE, text, view.campaign_name(campaign))


def _sweep() -> Wait:
    return Wait(WaitKind.SWEEP, "the campaign is being cancelled: its turn comes at once")


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _after(reason: str | None) -> str:
    return f" after: {reason}" if reason else ""


# --- actions -----------------------------------------------------------------------------------


def _wishes(view: View, entity: Entity) -> Iterator[tuple[str, ev.Event]]:
    """Commands with the events they would bring, whether or not they fit."""
    match entity:
        case Campaign(id=ident, name=name):
            for verb, kind in (
                ("start", ev.CampaignStarted),
                ("resume", ev.CampaignResumed),
                ("pause", ev.CampaignPaused),
                ("cancel", ev.CampaignCancelled),
                ("archive", ev.CampaignArchived),
            ):
                yield f"cm {verb} {name}", kind(campaign_id=ident)
        case Step():
            short = f"{view.campaigns[entity.campaign_id].name}/{entity.name}"
            yield f'cm sign {short} --reason "..."', ev.StepSigned(step_id=entity.id)
            yield f"cm release {short}", ev.StepReleased(step_id=entity.id)
        case Group():
            yield from _group_wishes(view, entity)
        case Job():
            if entity.group_id in view.groups:
                yield from _group_wishes(view, view.groups[entity.group_id])


def _group_wishes(view: View, group: Group) -> Iterator[tuple[str, ev.Event]]:
    step = view.steps[group.step_id]
    short = f"{view.campaigns[group.campaign_id].name}/{step.name}/{group.name}"
    ident = group.id
    job = view.jobs[group.jobs[group.cursor]]
    if job.kind is JobKind.PROCESS and group.quanta_succeeded:
        rescue = ev.GroupRetried(group_id=ident, mode=MISSING_ONLY)
        yield f"cm retry {short} --missing-only", rescue
    if group.stopped and group.facility:
        revived = ev.FacilityRevived(facility=group.facility, retry=True)
        yield f"cm revive {group.facility} --retry", revived
    if job.standing is not Standing.GOING:
        yield f"cm resume {short}", _commanded(job, Command.RESUME)
    yield f"cm retry {short}", ev.GroupRetried(group_id=ident)
    if job.kind is JobKind.PROCESS and job.attempt:
        anew = ev.GroupRetried(group_id=ident, mode=FROM_START)
        yield f"cm retry {short} --from-start", anew
    yield f'cm accept {short} --reason "..."', ev.GroupAccepted(group_id=ident)
    yield f"cm release {short}", ev.GroupReleased(group_id=ident)
    yield f'cm reject {short} --reason "..."', ev.GroupRejected(group_id=ident)
    if not group.held and group.state is not GroupState.HELD:
        yield f"cm hold {short}", ev.GroupHeld(group_id=ident)
    if job.standing is not Standing.PAUSED:
        yield f"cm pause {short}", _commanded(job, Command.PAUSE)
    if group.state is not GroupState.RUNNING:
        anywhere = ev.GroupMoved(group_id=ident, facility="")
        yield f'cm move {short} FACILITY --reason "..."', anywhere


def _commanded(job: Job, command: Command) -> ev.JobCommanded:
    return ev.JobCommanded(job_id=job.id, attempt=job.attempt, wants=((command, None),))


def _fits(view: View, event: ev.Event) -> bool:
    # A decision changes nothing, so the wish itself can be tried.
    try:
        decide(view, event, 0)
    except Refused:
        return False
    return True
