"""What must hold in every view, whatever happened: looked at by tests after each step, by people
who doubt. Not for the hot path: everything is counted anew."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cmd_daemon.kernel import commands
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.records import Effect
from cmd_daemon.kernel.states import (
    FINAL_CAMPAIGN,
    FINAL_GROUP,
    FINAL_JOB,
    FINAL_STEP,
    IN_FLIGHT_JOB,
    CampaignState,
    Desired,
    GroupState,
    JobState,
    Standing,
    StepState,
)
from cmd_daemon.kernel.view import View
from cmd_daemon.kernel.waiting import waits_for


@dataclass(slots=True)
class Gone:
    """What a step's final groups came to: they are in no view, the store or a test counted them."""

    groups: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    quanta_expected: int = 0
    quanta_succeeded: int = 0
    quanta_lost: int = 0


def problems(
    view: View, effects: Mapping[str, Effect], gone: Mapping[int, Gone] | None = None
) -> list[str]:
    """Everything in the view that breaks an invariant, in words; empty if all is well.

    `effects` is the outbox by key, all of it. `gone` holds, by step id, what the final groups came to;
    without it the counters of final states are only checked against what the view still shows.
    O(entities).
    """
    groups: dict[int, list[Group]] = {ident: [] for ident in view.steps}
    jobs: dict[int, list[Job]] = {ident: [] for ident in view.steps}
    for group in view.groups.values():
        groups[group.step_id].append(group)
    for job in view.jobs.values():
        jobs[job.step_id].append(job)
    found: list[str] = []
    for campaign in view.campaigns.values():
        found += _of_campaign(view, campaign)
    for step in view.steps.values():
        found += _of_step(view, step, groups[step.id], jobs[step.id], gone)
    for group in view.groups.values():
        found += _of_group(view, group)
    for job in view.jobs.values():
        found += _of_job(view, job)
    found += _of_effects(view, effects)
    found += _of_waits(view)
    return found


def _differ(name: str, what: str, told: object, counted: object) -> Iterator[str]:
    if told != counted:
        yield f"{name}: {what} says {told}, counted {counted}"


def _of_campaign(view: View, campaign: Campaign) -> Iterator[str]:
    name = view.campaign_name(campaign)
    steps = [view.steps[ident] for ident in view.steps_of[campaign.id].values()]
    jobs = [job for job in view.jobs.values() if job.campaign_id == campaign.id]
    flying = sum(job.state in IN_FLIGHT_JOB for job in jobs)
    yield from _differ(
        name, "step_counts", dict(campaign.step_counts), dict(Counter(s.state for s in steps))
    )
    yield from _differ(
        name, "open_steps", campaign.open_steps, sum(s.state not in FINAL_STEP for s in steps)
    )
    yield from _differ(name, "in_flight", campaign.in_flight, flying)
    standing = sum(job.standing is Standing.PAUSED for job in jobs)
    yield from _differ(name, "paused", campaign.paused, standing)
    if campaign.version < 1:
        yield f"{name}: version {campaign.version}"
    if view.campaign_ids.get(campaign.name) != campaign.id:
        yield f"{name}: is not found by its name"
    if campaign.state is CampaignState.PAUSED and campaign.in_flight != campaign.paused:
        yield f"{name}: PAUSED with {campaign.in_flight} jobs outside, {campaign.paused} of them paused"
    if campaign.state is CampaignState.PAUSED and campaign.desired is Desired.RUN:
        yield f"{name}: PAUSED and wanted RUN"
    if campaign.state in FINAL_CAMPAIGN:
        if campaign.open_steps:
            yield f"{name}: {campaign.state} with {campaign.open_steps} open steps"
        if campaign.finished_at is None:
            yield f"{name}: {campaign.state} without an end time"
    elif not campaign.open_steps and campaign.state is not CampaignState.DRAFT:
        yield f"{name}: {campaign.state} though no step is open"
    missed = [s.name for s in steps if s.state is not StepState.ACCEPTED and not s.policy.optional]
    if campaign.state is CampaignState.ACCEPTED and missed:
        yield f"{name}: ACCEPTED without steps {missed}"


def _of_step(
    view: View,
    step: Step,
    groups: list[Group],
    jobs: list[Job],
    gone: Mapping[int, Gone] | None,
) -> Iterator[str]:
    name = view.step_name(step)
    past = gone.get(step.id, Gone()) if gone is not None else None
    for what, told, seen, final, before in (
        ("group_counts", step.group_counts, groups, FINAL_GROUP, past.groups if past else None),
        ("job_counts", step.job_counts, jobs, FINAL_JOB, past.jobs if past else None),
    ):
        counted = Counter(str(entity.state) for entity in seen)
        if before is not None:
            yield from _differ(name, what, dict(told), dict(counted + before))
            continue
        live = {state: n for state, n in told.items() if state not in final}
        yield from _differ(
            name, what, live, {state: n for state, n in counted.items() if state not in final}
        )
        if any(told.get(state, 0) < n for state, n in counted.items()):
            yield f"{name}: {what} {dict(told)} is less than what is seen, {dict(counted)}"
    yield from _differ(name, "open_groups", step.open_groups, len(groups))
    if past is not None:
        for what in ("quanta_expected", "quanta_succeeded"):
            counted_quanta = getattr(past, what) + sum(getattr(g, what) for g in groups)
            yield from _differ(name, what, getattr(step, what), counted_quanta)
        yield from _differ(name, "quanta_lost", step.quanta_lost, past.quanta_lost)
    if step.version < 1:
        yield f"{name}: version {step.version}"
    siblings = view.steps_of[step.campaign_id]
    before_it = [view.steps[siblings[other]] for other in step.policy.after]
    if step.state is StepState.WAITING:
        unmet = sum(other.state is not StepState.ACCEPTED for other in before_it)
        yield from _differ(name, "unmet", step.unmet, unmet)
    if step.state in FINAL_STEP and step.open_groups:
        yield f"{name}: {step.state} with {step.open_groups} open groups"
    if step.state is StepState.RUNNING and not step.split_done:
        yield f"{name}: RUNNING before it was split to the end"
    if step.state is StepState.RUNNING and not step.open_groups:
        yield f"{name}: RUNNING though no group is open"


def _of_group(view: View, group: Group) -> Iterator[str]:
    name = view.group_name(group)
    if group.state in FINAL_GROUP:
        yield f"{name}: {group.state}, which is final, and still in the view"
    if not 0 <= group.cursor < len(group.jobs):
        yield f"{name}: cursor {group.cursor} of {len(group.jobs)} jobs"
        return
    jobs = [view.jobs[ident] for ident in group.jobs]
    if [job.position for job in jobs] != list(range(len(jobs))):
        yield f"{name}: its jobs are out of order"
    if any(job.state is not JobState.SUCCEEDED for job in jobs[: group.cursor]):
        yield f"{name}: a job before the cursor has not succeeded"
    late = (JobState.WAITING, JobState.CANCELLED)
    if any(job.state not in late for job in jobs[group.cursor + 1 :]):
        yield f"{name}: a job after the cursor has begun"
    at = jobs[group.cursor].state
    fits = {
        GroupState.READY: (JobState.READY,),
        GroupState.PLACED: (JobState.READY,),
        GroupState.REVIEW: (JobState.HELD,),
        GroupState.RUNNING: (
            JobState.READY,
            JobState.SUBMITTING,
            JobState.RUNNING,
            *((JobState.SUCCEEDED,) if _cancelling(view, group) else ()),
        ),
    }
    if group.state in fits and at not in fits[group.state]:
        yield f"{name}: {group.state} while its job is {at}"
    if (group.facility is None) != (
        group.state is GroupState.READY or (group.state is GroupState.HELD and not jobs[0].facility)
    ):
        yield f"{name}: {group.state} at facility {group.facility}"
    if group.pinned and group.facility and group.facility != group.pinned:
        yield f"{name}: at facility {group.facility} though pinned to {group.pinned}"
    if group.stopped and group.state is not GroupState.HELD:
        yield f"{name}: stopped by a kill switch while {group.state}"
    if group.version < 1:
        yield f"{name}: version {group.version}"


def _of_job(view: View, job: Job) -> Iterator[str]:
    group = view.groups.get(job.group_id)
    if group is None or job.id not in group.jobs:
        yield f"job {job.id} ({job.name}): its group {job.group_id} does not know it"
        return
    name = view.job_name(job)
    if job.version < 1:
        yield f"{name}: version {job.version}"
    if not 0 <= job.budget_from <= job.attempt or not 0 <= job.fresh_from <= job.attempt:
        yield (
            f"{name}: attempt {job.attempt}, budget from {job.budget_from}, "
            f"fresh from {job.fresh_from}"
        )
    if job.state is JobState.RUNNING and job.ref is None:
        yield f"{name}: RUNNING and nobody knows as what"
    if job.state in IN_FLIGHT_JOB and not (job.attempt and job.facility and job.driver):
        yield f"{name}: {job.state} at facility {job.facility!r} by driver {job.driver!r}"
    if job.cancelling and job.state not in IN_FLIGHT_JOB:
        yield f"{name}: is being cancelled while {job.state}"
    if job.cancelling and not (_cancelling(view, group) or job.facility in view.facilities):
        yield f"{name}: is being cancelled though neither its campaign nor its facility is"
    if job.state is not JobState.RUNNING and (
        job.commands or job.pause_wanted or job.standing is not Standing.GOING
    ):
        yield f"{name}: {job.state} and commanded: {job.standing}, {job.commands}"
    queue = commands.read(job.commands)
    if queue and (job.cancelling or job.due_at is None or job.due_at > queue[0].until):
        yield f"{name}: {queue[0].label} is asked for without a time, or while it is cancelled"
    kinds = [wanted.command for wanted in queue]
    standing = [kind for kind in kinds[1:] if kind in commands.STANDING]
    if len(set(kinds)) != len(kinds) or len(standing) > 1:
        yield f"{name}: the commands {job.commands} overtake each other"


def _of_effects(view: View, effects: Mapping[str, Effect]) -> Iterator[str]:
    wanted: dict[str, Job] = {}
    numbers: dict[str, int] = {}
    for job in view.jobs.values():
        if job.state is JobState.SUBMITTING:
            wanted[f"{view.key(job)}:submit"] = job
        elif job.state is JobState.RUNNING and job.cancelling:
            wanted[f"{view.key(job)}:cancel"] = job
        elif queue := commands.read(job.commands):
            wanted[f"{view.key(job)}:{queue[0].command}"] = job
            numbers[f"{view.key(job)}:{queue[0].command}"] = queue[0].number
    for key, job in wanted.items():
        effect = effects.get(key)
        if effect is None:
            yield f"{view.job_name(job)}: {job.state}, but {key} is not in the outbox"
        elif (effect.job_id, effect.attempt) != (job.id, job.attempt) or effect.key != key:
            yield f"{view.job_name(job)}: the outbox holds {key} for another attempt"
        elif effect.number != numbers.get(key, 0):
            yield f"{view.job_name(job)}: the outbox holds another command as {key}"
    for key in effects.keys() - wanted.keys():
        yield f"{key} is in the outbox and nobody wants it"


def _of_waits(view: View) -> Iterator[str]:
    # A cursor beyond the chain is told already; nothing can be said of what such a group waits for.
    sane = {g.id: g for g in view.groups.values() if 0 <= g.cursor < len(g.jobs)}
    entities: list[tuple[str, Entity]] = [
        *((view.campaign_name(c), c) for c in view.campaigns.values()),
        *((view.step_name(s), s) for s in view.steps.values()),
        *((view.group_name(g), g) for g in sane.values()),
        *((view.job_name(j), j) for j in view.jobs.values() if j.group_id in sane),
    ]
    for name, entity in entities:
        final = entity.state in _FINAL[type(entity)]
        waits = waits_for(view, entity)
        if not final and not waits:
            yield f"{name}: {entity.state} and nothing to wait for"
        if final and waits:
            yield f"{name}: {entity.state} and still waits for {waits[0].text}"


_FINAL: dict[type, frozenset[str]] = {
    Campaign: frozenset(FINAL_CAMPAIGN),
    Step: frozenset(FINAL_STEP),
    Group: frozenset(FINAL_GROUP),
    Job: frozenset(FINAL_JOB),
}


def _cancelling(view: View, group: Group) -> bool:
    return view.campaigns[group.campaign_id].desired is Desired.CANCEL
