"""What is written down beside the entities: events, attempts, placements, effects, files; and the
rows that readers get back. Times in microseconds UTC; JSON columns are texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.states import GroupState, RunOutcome, ScheduleState


@dataclass(slots=True)
class Record:
    """One event of the history: a state change, or something worth knowing that changed none
    (`from_state` = `to_state`). `kind` is the entity: campaign, step, group, job or facility. `name`
    is its resource name, `cause` the kernel event that led to it, `detail` a JSON text."""

    kind: str
    name: str
    campaign_id: int | None
    step_id: int | None
    group_id: int | None
    job_id: int | None
    from_state: str
    to_state: str
    cause: str
    actor: str
    at: int
    reason: str = ""
    facility: str = ""
    attempt: int = 0
    request_id: str = ""
    detail: str | None = None
    seq: int = 0


@dataclass(slots=True)
class Effect:
    """The committed intent of one outside call. `key` is `{job key}:{verb}`, unique; of a command, `number`
    tells which one."""

    key: str
    verb: str
    job_id: int
    attempt: int
    facility: str
    driver: str
    at: int
    number: int = 0


@dataclass(slots=True)
class AttemptRow:
    """One finished attempt of a job; written once, never changed."""

    job_id: int
    number: int
    state: str
    mode: str
    facility: str
    driver: str
    ref: str | None
    submitted_at: int | None
    started_at: int | None
    finished_at: int
    exit_code: int | None
    error_class: str | None
    message: str
    expected: int
    successful: int
    output_run: str | None
    memory: int
    quanta: str | None = None
    failures: str | None = None
    extra: str | None = None


@dataclass(slots=True)
class PlacementRow:
    """One placement decision of a group; the newest counts. `factors` is a JSON list."""

    group_id: int
    at: int
    facility: str | None
    algorithm: str
    actor: str
    reason: str
    factors: str | None = None


@dataclass(slots=True)
class PlacedBefore:
    """Where a campaign's groups have been placed so far: the facility of each region, groups by
    facility, regions with the facilities at which any of their groups has begun, and, of groups that
    are at no facility now, the last one (by id)."""

    regions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    begun: set[tuple[str, str]] = field(default_factory=set)
    former: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class CampaignFile:
    """One version of a campaign's file. `changes` is the JSON list of differences to the former."""

    campaign_id: int
    version: int
    at: int
    actor: str
    text: str
    parameters: str
    digest: str
    ticket: str = ""
    changes: str | None = None


@dataclass(slots=True)
class FacilityState:
    """What persons have decided about a facility: drained or not, edited limits (JSON text), stopped
    by the kill switch, and, when that was taken back, whether the groups it stopped go on."""

    name: str
    drained: bool
    reason: str
    actor: str
    at: int
    limits: str | None = None
    killed: bool = False
    reviving: bool = False


@dataclass(slots=True)
class Schedule:
    """When a campaign file is launched. `text` is the schedule file, `template` the campaign file,
    both as a person gave them. `next_at` is its next time, `last_at` the last one that was handled,
    `queued_at` one that waits until the campaigns of the last launch, `last_campaigns` (a JSON list of
    names), are final."""

    name: str
    version: int
    owner: str
    cron: str
    zone: str
    overlap: str
    text: str
    template: str
    template_file: str
    state: ScheduleState
    reason: str
    actor: str
    at: int
    next_at: int | None
    last_at: int | None = None
    queued_at: int | None = None
    last_campaigns: str = "[]"


@dataclass(slots=True)
class ScheduleRun:
    """What one time of a schedule came to: `due_at` is that time, `at` when it was handled,
    `campaigns` a JSON list of names."""

    schedule: str
    due_at: int
    at: int
    outcome: RunOutcome
    actor: str
    reason: str
    campaigns: str = "[]"


@dataclass(slots=True)
class FacilityLoad:
    """How many groups of one step stand in which state at a facility."""

    campaign: str
    step: str
    counts: dict[GroupState, int]


@dataclass(slots=True)
class RequestRow:
    """The answer given to a `request_id`, so that the same request is answered the same way."""

    request_id: str
    method: str
    digest: str
    answer: bytes
    at: int


@dataclass(slots=True)
class AuditRow:
    """One call to the API: who made it, from where, what it named, and what came of it. `result` is "OK" or
    the reason of a refusal, empty while it is not known; `before` and `after` are states of what it
    named, `detail` is a JSON text."""

    at: int
    who: str
    proof: str
    peer: str
    method: str
    campaign: str = ""
    name: str = ""
    reason: str = ""
    request_id: str = ""
    before: str = ""
    after: str = ""
    detail: str | None = None
    result: str = ""
    message: str = ""

    def follows(self, records: Sequence[Record]) -> None:
        """The call is decided: `records` are its consequences in the history, in order."""
        self.result = "OK"
        about = [each for each in records if each.name == self.name] or list(records[:1])
        if about:
            first, last = about[0], about[-1]
            self.name = self.name or first.name
            self.before, self.after = first.from_state, last.to_state
            self.detail = last.detail


@dataclass(slots=True)
class StepRow:
    """A step with the name of its campaign."""

    campaign: str
    step: Step


@dataclass(slots=True)
class GroupRow:
    """A group with the names above it."""

    campaign: str
    step_name: str
    group: Group


@dataclass(slots=True)
class JobRow:
    """A job with the names above it."""

    campaign: str
    step_name: str
    group_name: str
    job: Job


@dataclass(slots=True)
class CampaignRow:
    """A campaign with the ticket of its newest file."""

    campaign: Campaign
    ticket: str


@dataclass(slots=True)
class NexusRow:
    """The newest counts of one dataset type on one way of a movement: of one group, or summed over
    `groups` groups. `registered` and `rule_ok` are 0 where Rucio moves nothing. `missing` counts gaps,
    `gaps` is the JSON list of some of them."""

    movement: str
    source: str
    destination: str
    type: str
    made: int
    registered: int
    rule_ok: int
    sent: int
    arrived: int
    ingested: int
    not_for_here: int
    bytes: int
    purged: int
    missing: int
    groups: int
    at: int
    group: str = ""
    job: str = ""
    job_state: str = ""
    gaps: str = "[]"


@dataclass(slots=True)
class GroupCount:
    """Groups of one step at one facility (None: not placed) in one state; `slice` as asked for, `first`
    the name of the one that was made first."""

    step: str
    facility: str | None
    state: str
    count: int
    slice: int
    first: str


@dataclass(slots=True)
class SpanRow:
    """Attempts of one step at one facility that began (`what` "begun") or ended (`what` their state) in
    one span of time, with their quanta; or (`what` "bytes") what transfers brought, in `count`."""

    step: str
    facility: str
    span: int
    what: str
    count: int
    quanta: int = 0


@dataclass(slots=True)
class FailureRow:
    """Failures with the same message, task, exit code and class, of one step at one facility. `job` and
    `attempt` tell the last one, `total` counts the failures of all rows, also of those not given."""

    message: str
    task: str
    exit_code: int | None
    error_class: str | None
    step: str
    facility: str
    count: int
    first_at: int
    last_at: int
    group: str
    job: str
    attempt: int
    total: int


@dataclass(slots=True)
class TriedRow:
    """A finished attempt that rules were asked about, with what its job and group came to since."""

    step: str
    group: str
    job: str
    kind: str
    job_state: str
    job_attempt: int
    budget_from: int
    group_state: str
    attempt: AttemptRow


@dataclass(slots=True)
class CostRow:
    """Finished attempts of jobs of one kind of a step at one facility. Times in microseconds: of all, of
    those that failed, of the longest."""

    step: str
    facility: str
    kind: str
    attempts: int
    succeeded: int
    failed: int
    cancelled: int
    retries: int
    time: int
    failed_time: int
    longest: int


@dataclass(slots=True)
class GroupStory:
    """What became of a group: `time` from its start to its end or now, in microseconds. `total` counts
    all the groups that were asked for, also those not given."""

    step: str
    group: str
    facility: str | None
    state: str
    reason: str
    time: int
    attempts: int
    expected: int
    succeeded: int
    lost: int
    total: int


@dataclass(slots=True)
class WayRow:
    """The newest counts of all movements from one place to another, as `NexusRow` has them."""

    source: str
    destination: str
    made: int
    sent: int
    arrived: int
    ingested: int
    bytes: int
    missing: int
    groups: int
