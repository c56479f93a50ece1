"""Entities and records to rows and back, written out by hand: this runs for every row.

Column orders are the field orders of the dataclasses, so that a row unpacks into its class. Words
that repeat a hundred thousand times (facility, driver, mode, job names) are interned on the way in.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from sys import intern
from typing import Any

from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.policy import (
    ErrorRule,
    JobTemplate,
    PlacementPlan,
    Resources,
    RetryPolicy,
    RuleAction,
    SplitPlan,
    StepPolicy,
)
from cmd_daemon.kernel.records import (
    AttemptRow,
    AuditRow,
    CampaignFile,
    Effect,
    FacilityState,
    PlacementRow,
    Record,
    RequestRow,
    Schedule,
    ScheduleRun,
)
from cmd_daemon.kernel.states import (
    CampaignState,
    Desired,
    GroupState,
    JobKind,
    JobState,
    RunOutcome,
    ScheduleState,
    Standing,
    StepState,
)

Row = tuple[Any, ...]


def _names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


CAMPAIGN = _names(Campaign)
STEP = _names(Step)
GROUP = _names(Group)
JOB = _names(Job)
RECORD = _names(Record)
EFFECT = _names(Effect)
ATTEMPT = _names(AttemptRow)
PLACEMENT = _names(PlacementRow)
FILE = _names(CampaignFile)
FACILITY = _names(FacilityState)
REQUEST = _names(RequestRow)
AUDIT = _names(AuditRow)
SCHEDULE = _names(Schedule)
SCHEDULE_RUN = _names(ScheduleRun)

_CAMPAIGN_STATES = {s.value: s for s in CampaignState}
_DESIRED = {s.value: s for s in Desired}
_STEP_STATES = {s.value: s for s in StepState}
_GROUP_STATES = {s.value: s for s in GroupState}
_JOB_STATES = {s.value: s for s in JobState}
_STANDINGS = {s.value: s for s in Standing}
_JOB_KINDS = {s.value: s for s in JobKind}

# Enumerated words are written by their plain text: sqlite3 binds exact `str` four times faster than
# a subclass, which it first offers to its adapters.
_ENUMERATED = frozenset({"state", "kind", "desired", "outcome", "standing"})


def getter(names: Iterable[str]) -> Callable[[Any], Row]:
    """A function from an entity to the row of these fields (two or more)."""
    return attrgetter(*(f"{n}._value_" if n in _ENUMERATED else n for n in names))


# Fields that are not stored as they are have their place looked up once.
_C_COUNTS = CAMPAIGN.index("step_counts")
_S_POLICY = STEP.index("policy")
_S_GROUPS = STEP.index("group_counts")
_S_JOBS = STEP.index("job_counts")
_G_JOBS = GROUP.index("jobs")

_campaign_fields = getter(CAMPAIGN)
_step_fields = getter(STEP)
_group_fields = getter(GROUP)

job_to_row: Callable[[Job], Row] = getter(JOB)
effect_to_row: Callable[[Effect], Row] = attrgetter(*EFFECT)
attempt_to_row: Callable[[AttemptRow], Row] = attrgetter(*ATTEMPT)
placement_to_row: Callable[[PlacementRow], Row] = attrgetter(*PLACEMENT)
file_to_row: Callable[[CampaignFile], Row] = attrgetter(*FILE)
facility_to_row: Callable[[FacilityState], Row] = attrgetter(*FACILITY)
request_to_row: Callable[[RequestRow], Row] = attrgetter(*REQUEST)
audit_to_row: Callable[[AuditRow], Row] = attrgetter(*AUDIT)
record_to_row: Callable[[Record], Row] = attrgetter(*RECORD)
schedule_to_row: Callable[[Schedule], Row] = getter(SCHEDULE)
schedule_run_to_row: Callable[[ScheduleRun], Row] = getter(SCHEDULE_RUN)


def campaign_to_row(campaign: Campaign) -> Row:
    """The campaign's row, columns as `CAMPAIGN`."""
    row = list(_campaign_fields(campaign))
    row[_C_COUNTS] = json.dumps(row[_C_COUNTS])
    return tuple(row)


def step_to_row(step: Step) -> Row:
    """The step's row, columns as `STEP`."""
    row = list(_step_fields(step))
    row[_S_POLICY] = policy_text(step.policy)
    row[_S_GROUPS] = json.dumps(row[_S_GROUPS])
    row[_S_JOBS] = json.dumps(row[_S_JOBS])
    return tuple(row)


def ids_text(ids: Iterable[int]) -> str:
    """A JSON list of ids."""
    return "[" + ",".join(map(str, ids)) + "]"


def group_to_row(group: Group) -> Row:
    """The group's row, columns as `GROUP`."""
    row = list(_group_fields(group))
    row[_G_JOBS] = ids_text(group.jobs)
    return tuple(row)


def campaign_of(row: Sequence[Any]) -> Campaign:
    """The campaign of a row with the columns `CAMPAIGN`."""
    campaign = Campaign(*row)
    campaign.state = _CAMPAIGN_STATES[campaign.state]
    campaign.desired = _DESIRED[campaign.desired]
    campaign.step_counts = json.loads(row[_C_COUNTS])
    return campaign


def step_of(row: Sequence[Any]) -> Step:
    """The step of a row with the columns `STEP`."""
    step = Step(*row)
    step.state = _STEP_STATES[step.state]
    step.policy = policy_of(row[_S_POLICY])
    step.split_done = bool(step.split_done)
    step.group_counts = json.loads(row[_S_GROUPS])
    step.job_counts = json.loads(row[_S_JOBS])
    return step


def group_of(row: Sequence[Any]) -> Group:
    """The group of a row with the columns `GROUP`."""
    group = Group(*row)
    group.state = _GROUP_STATES[group.state]
    inside = row[_G_JOBS][1:-1]
    group.jobs = tuple(map(int, inside.split(","))) if inside else ()
    group.held = bool(group.held)
    group.stopped = bool(group.stopped)
    group.accept_losses = bool(group.accept_losses)
    if group.facility is not None:
        group.facility = intern(group.facility)
    if group.pinned is not None:
        group.pinned = intern(group.pinned)
    if group.region is not None:
        group.region = intern(group.region)
    return group


def job_of(row: Sequence[Any]) -> Job:
    """The job of a row with the columns `JOB`."""
    job = Job(*row)
    job.kind = _JOB_KINDS[job.kind]
    job.state = _JOB_STATES[job.state]
    job.name = intern(job.name)
    job.driver = intern(job.driver)
    job.facility = intern(job.facility)
    job.mode = intern(job.mode)
    job.cancelling = bool(job.cancelling)
    job.standing = _STANDINGS[job.standing]
    job.pause_wanted = bool(job.pause_wanted)
    return job


def effect_of(row: Sequence[Any]) -> Effect:
    """The effect of a row with the columns `EFFECT`."""
    effect = Effect(*row)
    effect.verb = intern(effect.verb)
    effect.facility = intern(effect.facility)
    effect.driver = intern(effect.driver)
    return effect


def facility_of(row: Sequence[Any]) -> FacilityState:
    """The facility of a row with the columns `FACILITY`."""
    facility = FacilityState(*row)
    facility.drained = bool(facility.drained)
    facility.killed = bool(facility.killed)
    facility.reviving = bool(facility.reviving)
    return facility


def schedule_of(row: Sequence[Any]) -> Schedule:
    """The schedule of a row with the columns `SCHEDULE`."""
    schedule = Schedule(*row)
    schedule.state = ScheduleState(schedule.state)
    return schedule


def schedule_run_of(row: Sequence[Any]) -> ScheduleRun:
    """The run of a row with the columns `SCHEDULE_RUN`."""
    run = ScheduleRun(*row)
    run.outcome = RunOutcome(run.outcome)
    return run


# -- the step's policy ---------------------------------------------------------------------------

_TEXTS_KEPT = 512
_texts: dict[int, tuple[StepPolicy, str]] = {}


def policy_text(policy: StepPolicy) -> str:
    """The policy as JSON text. Policies are frozen and a step is written with every batch, so the
    text of each policy object is made once; the object is kept with it, so that its id stays its.

    Raises TypeError or ValueError if `params` hold what JSON cannot.
    """
    kept = _texts.get(id(policy))
    if kept is not None:
        return kept[1]
    made = json.dumps(_policy(policy), default=_plain, allow_nan=False, separators=(",", ":"))
    if len(_texts) >= _TEXTS_KEPT:
        _texts.clear()
    _texts[id(policy)] = (policy, made)
    return made


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be stored as JSON")


def _policy(p: StepPolicy) -> dict[str, Any]:
    return {
        "after": p.after,
        "optional": p.optional,
        "breakpoint": p.breakpoint,
        "jobs": [
            {
                "name": j.name,
                "kind": j.kind.value,
                "params": j.params,
                "timeout_s": j.timeout_s,
                "driver": j.driver,
            }
            for j in p.jobs
        ],
        "split": {"splitter": p.split.splitter, "params": p.split.params, "at": p.split.at},
        "placement": {
            "algorithm": p.placement.algorithm,
            "facilities": p.placement.facilities,
            "at": p.placement.at,
            "region": p.placement.region,
            "shares": p.placement.shares,
            "pins": p.placement.pins,
            "inputs": p.placement.inputs,
            "params": p.placement.params,
        },
        "resources": {
            "memory": p.resources.memory,
            "cores": p.resources.cores,
            "walltime_s": p.resources.walltime_s,
        },
        "retry": {
            "attempts": p.retry.attempts,
            "backoff_s": p.retry.backoff_s,
            "backoff_max_s": p.retry.backoff_max_s,
            "memory_factor": p.retry.memory_factor,
            "memory_max": p.retry.memory_max,
        },
        "at_least": p.at_least,
        "errors": [
            {
                "action": r.action.value,
                "task": r.task,
                "message": r.message,
                "exit": r.exit,
                "up_to": r.up_to,
            }
            for r in p.errors
        ],
        "where": p.where,
        "stack": p.stack,
        "butler": p.butler,
        "inputs": p.inputs,
        "output": p.output,
    }


def policy_of(text: str) -> StepPolicy:
    """The policy of a JSON text. A field the text lacks (written by an older daemon) takes its
    default. Sequences inside `params` come back as lists."""
    raw: dict[str, Any] = json.loads(text)
    for name in ("after", "inputs"):
        if name in raw:
            raw[name] = tuple(raw[name])
    if "jobs" in raw:
        raw["jobs"] = tuple(
            JobTemplate(**{**job, "kind": JobKind(job["kind"])}) for job in raw["jobs"]
        )
    if "split" in raw:
        raw["split"] = SplitPlan(**raw["split"])
    if "placement" in raw:
        plan = raw["placement"]
        for name in ("facilities", "inputs"):
            plan[name] = tuple(plan.get(name, ()))
        raw["placement"] = PlacementPlan(**plan)
    if "resources" in raw:
        raw["resources"] = Resources(**raw["resources"])
    if "retry" in raw:
        raw["retry"] = RetryPolicy(**raw["retry"])
    if "errors" in raw:
        raw["errors"] = tuple(
            ErrorRule(**{**rule, "action": RuleAction(rule["action"])}) for rule in raw["errors"]
        )
    return StepPolicy(**raw)
