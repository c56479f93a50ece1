"""Campaign, step, group and job as the kernel sees them.

Rows in memory, one object an entity, slots only: 10^5 groups have to fit. `decide` never changes
one that is in a view: it works on copies (see `draft.py`), and the engine puts them in place.
Times are integers, microseconds since the epoch, UTC.
"""

from dataclasses import dataclass, field

from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.kernel.states import (
    CampaignState,
    Desired,
    GroupState,
    JobKind,
    JobState,
    Standing,
    StepState,
)


@dataclass(slots=True)
class Campaign:
    """One campaign. `step_counts` holds the number of its steps by state, `in_flight` the number of
    its jobs that may exist in an outside system, `paused` those of them that are known to be paused there,
    `open_steps` the steps that are not final."""

    id: int
    name: str
    owner: str
    created_at: int
    state: CampaignState = CampaignState.DRAFT
    desired: Desired = Desired.RUN
    version: int = 1
    file_version: int = 1
    step_counts: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    open_steps: int = 0
    reason: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    paused: int = 0


@dataclass(slots=True)
class Step:
    """One step. `unmet` counts the steps of `after` that are not ACCEPTED yet; `group_counts` and
    `job_counts` roll up the states below; `shares` counts the groups made so far."""

    id: int
    campaign_id: int
    name: str
    position: int
    policy: StepPolicy
    state: StepState = StepState.WAITING
    version: int = 1
    unmet: int = 0
    split_done: bool = False
    open_groups: int = 0
    group_counts: dict[str, int] = field(default_factory=dict)
    job_counts: dict[str, int] = field(default_factory=dict)
    quanta_expected: int = 0
    quanta_succeeded: int = 0
    quanta_lost: int = 0
    reason: str | None = None
    due_at: int | None = None
    tries: int = 0
    signed_by: str | None = None
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(slots=True)
class Group:
    """One group: a share of the step's data that runs at exactly one facility.

    `share` is the JSON text of the `DataShare` the splitter made. `pinned` is the facility that a person
    has moved it to: no selector may choose another. `cursor` is the position of the
    job the group is at. `held` is a person's wish to hold, `stopped` tells that a kill switch holds
    it; `accept_losses` is a person's acceptance.
    The quanta numbers are those of the group's newest process attempt, over all its attempts.
    """

    id: int
    campaign_id: int
    step_id: int
    name: str
    share: str
    jobs: tuple[int, ...] = ()
    state: GroupState = GroupState.READY
    version: int = 1
    facility: str | None = None
    pinned: str | None = None
    region: str | None = None
    cursor: int = 0
    held: bool = False
    stopped: bool = False
    accept_losses: bool = False
    quanta_expected: int = 0
    quanta_succeeded: int = 0
    quanta_lost: int = 0
    reason: str | None = None
    due_at: int | None = None
    created_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(slots=True)
class Job:
    """One job. The fields from `attempt` on describe the current attempt; finished attempts are
    rows of their own. `mode` says how the current attempt treats what former attempts made;
    only attempts numbered above `fresh_from` count as former, and only those above `budget_from`
    use up the budget.

    `ref` is the outside system's own name of the attempt; `submit_tries` counts calls that did
    not answer clearly within this attempt; `due_at` is when the job's timer fires;
    `progress` is a JSON text of what the driver last told. `standing` tells whether it is paused outside,
    `pause_wanted` that a person wants it so, whatever the campaign does; `commands` is the JSON text of
    the commands that wait to be done (see `commands.read`), the first of them asked for.
    """

    id: int
    campaign_id: int
    step_id: int
    group_id: int
    name: str
    kind: JobKind
    position: int
    state: JobState = JobState.WAITING
    version: int = 1
    driver: str = ""
    facility: str = ""
    attempt: int = 0
    budget_from: int = 0
    fresh_from: int = 0
    mode: str = ""
    ref: str | None = None
    submit_tries: int = 0
    cancelling: bool = False
    reason: str | None = None
    due_at: int | None = None
    progress: str | None = None
    started_at: int | None = None
    submitted_at: int | None = None
    standing: Standing = Standing.GOING
    pause_wanted: bool = False
    commands: str | None = None


Entity = Campaign | Step | Group | Job
