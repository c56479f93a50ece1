"""The states of campaigns, steps, groups and jobs, and which state may follow which.

`MOVES` is the one transition table of the daemon: whatever is not in it is refused. The states
are those of docs/concepts.md; final states have no way out.
"""

from enum import StrEnum


class CampaignState(StrEnum):
    """Observed state of a campaign; PAUSING and CANCELLING show while observed and desired differ."""

    DRAFT = "DRAFT"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    ACCEPTED = "ACCEPTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    ARCHIVED = "ARCHIVED"


class Desired(StrEnum):
    """What a person wants of a campaign, beside what is observed."""

    RUN = "RUN"
    PAUSE = "PAUSE"
    CANCEL = "CANCEL"


class StepState(StrEnum):
    """Observed state of a step."""

    WAITING = "WAITING"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    REVIEW = "REVIEW"
    HELD = "HELD"
    ACCEPTED = "ACCEPTED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class GroupState(StrEnum):
    """Observed state of a group."""

    WAITING = "WAITING"
    READY = "READY"
    PLACED = "PLACED"
    RUNNING = "RUNNING"
    REVIEW = "REVIEW"
    HELD = "HELD"
    ACCEPTED = "ACCEPTED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"


class ScheduleState(StrEnum):
    """State of a schedule: ACTIVE ones launch, PAUSED ones wait for a person, REMOVED ones are kept for
    their history."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    REMOVED = "REMOVED"


class RunOutcome(StrEnum):
    """What a time of a schedule came to."""

    LAUNCHED = "LAUNCHED"
    SKIPPED = "SKIPPED"
    QUEUED = "QUEUED"
    REFUSED = "REFUSED"


class JobState(StrEnum):
    """Observed state of a job."""

    WAITING = "WAITING"
    READY = "READY"
    SUBMITTING = "SUBMITTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    HELD = "HELD"
    UNCERTAIN = "UNCERTAIN"


class JobKind(StrEnum):
    """What a job does in an outside system."""

    PROCESS = "process"
    SCRIPT = "script"
    REGISTER = "register"
    TRANSFER = "transfer"
    INGEST = "ingest"
    COLLECT = "collect"
    BUNDLE = "bundle"
    PURGE = "purge"


_C, _S, _G, _J = CampaignState, StepState, GroupState, JobState

CAMPAIGN_MOVES: dict[CampaignState, frozenset[CampaignState]] = {
    _C.DRAFT: frozenset({_C.RUNNING, _C.CANCELLED}),
    _C.RUNNING: frozenset({_C.PAUSED, _C.ACCEPTED, _C.FAILED, _C.CANCELLED}),
    _C.PAUSED: frozenset({_C.RUNNING, _C.ACCEPTED, _C.FAILED, _C.CANCELLED}),
    _C.ACCEPTED: frozenset({_C.ARCHIVED}),
    _C.FAILED: frozenset({_C.ARCHIVED}),
    _C.CANCELLED: frozenset({_C.ARCHIVED}),
    _C.ARCHIVED: frozenset(),
}

STEP_MOVES: dict[StepState, frozenset[StepState]] = {
    _S.WAITING: frozenset({_S.PREPARING, _S.REVIEW, _S.CANCELLED}),
    _S.PREPARING: frozenset({_S.RUNNING, _S.HELD, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.REVIEW, _S.ACCEPTED, _S.FAILED, _S.CANCELLED}),
    _S.REVIEW: frozenset({_S.ACCEPTED, _S.CANCELLED}),
    _S.HELD: frozenset({_S.PREPARING, _S.CANCELLED}),
    _S.ACCEPTED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}

GROUP_MOVES: dict[GroupState, frozenset[GroupState]] = {
    _G.WAITING: frozenset({_G.READY, _G.CANCELLED}),
    _G.READY: frozenset({_G.PLACED, _G.HELD, _G.REJECTED, _G.CANCELLED}),
    _G.PLACED: frozenset({_G.RUNNING, _G.READY, _G.HELD, _G.REJECTED, _G.CANCELLED}),
    _G.RUNNING: frozenset({_G.READY, _G.REVIEW, _G.HELD, _G.ACCEPTED, _G.FAILED, _G.CANCELLED}),
    _G.REVIEW: frozenset({_G.READY, _G.RUNNING, _G.REJECTED, _G.CANCELLED}),
    _G.HELD: frozenset(
        {_G.READY, _G.PLACED, _G.RUNNING, _G.REVIEW, _G.FAILED, _G.REJECTED, _G.CANCELLED}
    ),
    _G.ACCEPTED: frozenset(),
    _G.FAILED: frozenset(),
    _G.REJECTED: frozenset(),
    _G.CANCELLED: frozenset(),
}

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    _J.WAITING: frozenset({_J.READY, _J.CANCELLED}),
    _J.READY: frozenset({_J.WAITING, _J.SUBMITTING, _J.HELD, _J.CANCELLED}),
    _J.SUBMITTING: frozenset(
        {_J.RUNNING, _J.READY, _J.FAILED, _J.HELD, _J.UNCERTAIN, _J.CANCELLED}
    ),
    _J.RUNNING: frozenset({_J.SUCCEEDED, _J.READY, _J.FAILED, _J.HELD, _J.UNCERTAIN, _J.CANCELLED}),
    _J.UNCERTAIN: frozenset({_J.SUBMITTING, _J.RUNNING, _J.READY, _J.CANCELLED}),
    _J.HELD: frozenset({_J.WAITING, _J.READY, _J.SUCCEEDED, _J.FAILED, _J.CANCELLED}),
    # Only when a person moves its group, which then begins anew at another facility.
    _J.SUCCEEDED: frozenset({_J.WAITING, _J.READY}),
    _J.FAILED: frozenset(),
    _J.CANCELLED: frozenset(),
}

FINAL_CAMPAIGN = frozenset({_C.ACCEPTED, _C.FAILED, _C.CANCELLED, _C.ARCHIVED})
FINAL_STEP = frozenset(s for s, to in STEP_MOVES.items() if not to)
FINAL_GROUP = frozenset(s for s, to in GROUP_MOVES.items() if not to)
FINAL_JOB = frozenset({_J.SUCCEEDED, _J.FAILED, _J.CANCELLED})
IN_FLIGHT_JOB = frozenset({_J.SUBMITTING, _J.RUNNING, _J.UNCERTAIN})
"""Jobs that may exist in an outside system."""
