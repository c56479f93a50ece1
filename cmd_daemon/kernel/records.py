"""What is written down beside the entities: events, attempts, placements, effects, files; and the
rows that readers get back. Times in microseconds UTC; JSON columns are texts."""

from dataclasses import dataclass

from cmd_daemon.kernel.entities import Campaign, Group, Job, Step


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
    """The committed intent of one outside call. `key` is `{job key}:{verb}`, unique."""

    key: str
    verb: str
    job_id: int
    attempt: int
    facility: str
    driver: str
    at: int


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
    """What persons have decided about a facility: drained or not, edited limits (JSON text)."""

    name: str
    drained: bool
    reason: str
    actor: str
    at: int
    limits: str | None = None


@dataclass(slots=True)
class RequestRow:
    """The answer given to a `request_id`, so that the same request is answered the same way."""

    request_id: str
    method: str
    digest: str
    answer: bytes
    at: int


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
