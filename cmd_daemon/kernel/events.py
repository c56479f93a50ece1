"""Everything that can happen: what persons ask for, and what the outside world is seen to do.

An event is a wish or an observation, never a change: `decide` says what follows from it. Each carries
who caused it (`actor`), why (`reason`), and the `request_id` of the call it came with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cmd_daemon.kernel.commands import Command, Value
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.policy import JobTemplate, StepPolicy

DAEMON = "daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    actor: str = DAEMON
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignEvent(Event):
    """An event about one campaign."""

    campaign_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignApplied(Event):
    """A validated campaign file: new (`campaign_id` None) or a new version. `steps` in an order in
    which each comes after those it names; `changes` is the JSON list of differences."""

    campaign_id: int | None
    name: str
    owner: str
    ticket: str
    text: str
    parameters: str
    digest: str
    steps: Mapping[str, StepPolicy]
    changes: str | None = None
    start: bool = False


class CampaignStarted(CampaignEvent):
    """A person starts a campaign in DRAFT."""


class CampaignPaused(CampaignEvent):
    """A person wants nothing new submitted, and what is outside paused where that can be done."""


class CampaignResumed(CampaignEvent):
    """A person takes a pause back."""


class CampaignCancelled(CampaignEvent):
    """A person wants the campaign and its outside work ended."""


class CampaignArchived(CampaignEvent):
    """A person puts a final campaign away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignRemoved(CampaignEvent):
    """The steps and the history of an archived campaign leave the database: it is whole in this file."""

    campaign: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsSwept(CampaignEvent):
    """The engine's sweep of a campaign that was cancelled, paused or resumed reached these groups."""

    group_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent(Event):
    """An event about one step."""

    step_id: int


class StepSigned(StepEvent):
    """A person signs a breakpoint."""


class StepReleased(StepEvent):
    """A person wants a held step tried again."""


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group a splitter made: its name, its share as a JSON text, its region, and its jobs if a
    plugin planned others than the step's (they are in the share too)."""

    name: str
    share: str
    region: str | None = None
    jobs: tuple[JobTemplate, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSplit(StepEvent):
    """Some more, or the `last`, shares of a step in PREPARING. Names that are there are passed over."""

    groups: tuple[NewGroup, ...]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFailed(StepEvent):
    """The splitter could not answer."""

    error_class: ErrorClass
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvent(Event):
    """An event about one group."""

    group_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlaced(GroupEvent):
    """A selector decided. `drivers` maps job kinds to the facility's drivers; `factors` is JSON.
    `pinned` is the group's pin as it was when the selector was asked."""

    facility: str
    drivers: Mapping[str, str]
    algorithm: str = ""
    factors: str | None = None
    pinned: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNotPlaced(GroupEvent):
    """No facility will do, now or (`permanent`) ever. `pinned` as in GroupPlaced."""

    message: str
    permanent: bool
    algorithm: str = ""
    factors: str | None = None
    pinned: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecalled(GroupEvent):
    """The group has not begun, its facility takes no work, and its step's policy wants it elsewhere:
    it is placed again. Void unless it is PLACED at `facility`."""

    facility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMoved(GroupEvent):
    """A person wants the group at this facility, whatever else would decide where it runs."""

    facility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRetried(GroupEvent):
    """A person wants a new attempt: `mode` "", "missing-only" or "from-start"."""

    mode: str = ""


class GroupAccepted(GroupEvent):
    """A person takes the group with its losses."""


class GroupRejected(GroupEvent):
    """A person leaves the group out for good."""


class GroupHeld(GroupEvent):
    """A person wants nothing more submitted for the group."""


class GroupReleased(GroupEvent):
    """A person takes a hold back, or wants an uncertain job looked up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """An event about one attempt of one job; one about another attempt than the current is void."""

    job_id: int
    attempt: int


class JobAdmitted(JobEvent):
    """There is a slot: a new attempt may be submitted. `attempt` is the last one used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTooBig(JobEvent):
    """No slot of the facility will ever do for a new attempt. `attempt` is the last one used."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTaken(JobEvent):
    """The outside system has the attempt, by an answer or by a look-up."""

    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFailed(JobEvent):
    """The outside system did not clearly take the attempt. `repeatable`: the same call may be made
    again, or a look-up tells.

    Told once a call. Any class but UNKNOWN says that the attempt is certainly not outside, by former
    calls neither; a look-up that failed is UNKNOWN.
    """

    error_class: ErrorClass
    message: str
    repeatable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpFailed(JobEvent):
    """The outside system could not be asked whether it holds the attempt: it is away just now."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAbsent(JobEvent):
    """A look-up proved that the outside system does not hold the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen(JobEvent):
    """The attempt is queued or running outside; `progress` is a JSON text."""

    running: bool
    progress: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded(JobEvent):
    """The attempt is over. `memory` is what it had asked for, in bytes."""

    outcome: Outcome
    memory: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGone(JobEvent):
    """The outside system no longer knows the attempt."""

    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFailed(JobEvent):
    """The outside system could not be asked to end the attempt."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCommanded(JobEvent):
    """A person wants something of the attempt while it is outside: commands with their values, each
    command once. `attempt` is the one the person saw."""

    wants: tuple[tuple[Command, Value], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswered(JobEvent):
    """What became of the command of this number: done, or why not. `error_class` PERMANENT refuses it;
    with any other it is asked for again."""

    number: int
    done: bool
    error_class: ErrorClass = ErrorClass.NOT_YET
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(Event):
    """The timer `due_at` of an entity has come; void if the entity's timer is another by now."""

    entity_id: int
    due_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleApplied(Event):
    """A validated schedule file with its template: new, or another version. `next_at` is its first
    time from now on (microseconds UTC)."""

    schedule: str
    owner: str
    cron: str
    zone: str
    overlap: str
    text: str
    template: str
    template_file: str
    next_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleEvent(Event):
    """An event about one schedule."""

    schedule: str


class SchedulePaused(ScheduleEvent):
    """A person wants nothing launched by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleResumed(ScheduleEvent):
    """A person takes a pause back; `next_at` is its first time from now on."""

    next_at: int


class ScheduleRemoved(ScheduleEvent):
    """A person wants it gone; its history stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDue(ScheduleEvent):
    """A time of a schedule has come, a queued one can begin, or (`by_hand`) a person wants it now.

    `expected` is what the schedule had as its next (or queued) time, `due_at` the time that counts: a
    later one if several were missed. `campaigns` are to be launched, `problem` says why they cannot
    be, `late` why they may not be any more.
    """

    expected: int | None
    due_at: int
    next_at: int | None
    campaigns: tuple[CampaignApplied, ...] = ()
    problem: str = ""
    late: str = ""
    by_hand: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilityEvent(Event):
    """An event about one facility."""

    facility: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilityDrained(FacilityEvent):
    """A person drains (or with `drained` False undrains) a facility. Changes no campaign state."""

    drained: bool = field(default=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilityLimited(FacilityEvent):
    """A person changes limits: `limits` is the JSON text of all that differ from the configuration
    from now on, `former` of those that did when the person looked; None: none. Changes no campaign
    state."""

    former: str | None
    limits: str | None


class FacilityKilled(FacilityEvent):
    """A person stops a facility: nothing is submitted there any more, and the engine's sweep ends
    what is outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilityRevived(FacilityEvent):
    """A person takes a kill back. With `retry` the groups it stopped go on, by the engine's sweep."""

    retry: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FacilitySwept(FacilityEvent):
    """The engine's sweep of a facility that was killed, or is revived, reached these groups."""

    group_ids: tuple[int, ...]
