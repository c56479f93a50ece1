"""The ports: what the daemon asks of a plugin, typed, asynchronous and in sets.

A plugin registers factories of these through the hooks of `cmd_daemon.hooks.spec`; the engine
calls them with a deadline and in a task of its own, so that a slow or failing one hurts only its
own jobs. Any exception that is not a `DriverError` is taken as UNKNOWN for calls that change
something outside and as TRANSIENT for those that only look.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel

from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.states import JobKind

if TYPE_CHECKING:
    from cmd_daemon.hooks.transports import Transport


class DriverError(Exception):
    """A call to an outside system failed as a whole.

    `error_class` says what may be done next, the message is for people and names the system.
    """

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


class Verb(StrEnum):
    """The calls of a driver that change something outside."""

    SUBMIT = "submit"
    CANCEL = "cancel"


class Safety(StrEnum):
    """What may be done when nobody knows whether a call took effect.

    IDEMPOTENT: say it again with the same key. FINDABLE: `find` tells for sure. NEITHER: a person
    has to look.
    """

    IDEMPOTENT = "IDEMPOTENT"
    FINDABLE = "FINDABLE"
    NEITHER = "NEITHER"


@dataclass(frozen=True, slots=True)
class JobOrder:
    """Everything a driver needs to start one attempt of one job.

    `key` (`{campaign}/{step}/{group}/{job}#{attempt}`) is unique for ever and must be planted in
    the outside system so that `find` sees it. `where` is the group's complete data query, `inputs` the
    collections to read (first wins), `output_run` the RUN collection to write, `output_chain` the
    group's chained collection, `step_chain` the step's. `former_runs` are the RUN collections of
    earlier attempts, newest first; `mode` is "" (first try or same data again), "missing-only"
    (take over what former runs made) or "from-start" (ignore it). `queue` is the facility's memory
    class the job was admitted to, "" if it has none. Memory in bytes, times in seconds. `params` are
    those of the job's template, `share` the splitter's data share.
    """

    key: str
    campaign: str
    step: str
    group: str
    job: str
    attempt: int
    kind: JobKind
    facility: str
    params: Mapping[str, Any] = field(default_factory=dict)
    share: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    stack: str = ""
    butler: str = ""
    inputs: tuple[str, ...] = ()
    output_run: str = ""
    output_chain: str = ""
    step_chain: str = ""
    former_runs: tuple[str, ...] = ()
    former_refs: tuple[str, ...] = ()
    mode: str = ""
    memory: int = 2 * 1024**3
    cores: int = 1
    walltime_s: float = 86_400.0
    queue: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The outside system has taken the order (now or by an earlier call) and calls it `ref`."""

    key: str
    ref: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The order was not taken; `error_class` says what may be done. Never UNKNOWN by guess:
    UNKNOWN means that the call may have taken effect."""

    key: str
    error_class: ErrorClass
    message: str


@dataclass(frozen=True, slots=True)
class Found:
    """The outside system holds this key, under `ref`."""

    key: str
    ref: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The outside system certainly does not hold this key, and no call under way can bring it."""

    key: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody can tell whether the outside system holds this key."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class JobRef:
    """One attempt in the outside system: our key and the system's own name for it."""

    key: str
    ref: str


class Phase(StrEnum):
    """How far the outside system is with an attempt. GONE: it no longer knows it."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of an attempt is done: `done` and `failed` of `total` (quanta, files), what they
    count, bytes and bytes a second where that says something, and a short note for people."""

    done: int = 0
    total: int = 0
    failed: int = 0
    unit: str = "quanta"
    bytes: int = 0
    rate: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one attempt; `outcome` is there when, and only when, the phase is DONE."""

    key: str
    phase: Phase
    outcome: Outcome | None = None
    progress: Progress | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """`done`: the attempt is over, or the system has promised to end it and `observe` will say so.
    Otherwise `message` says why it could not be asked for."""

    key: str
    done: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an attempt for drill-down: a task, a file, a rule, a log."""

    name: str
    kind: str
    state: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    link: str = ""
    log: bool = False


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of a log: the bytes from `offset` on; `end` when the log will not grow any more."""

    offset: int
    data: bytes
    end: bool = False


class Driver(Protocol):
    """A plugin's adapter to one outside system at one facility.

    All calls take and return sets; answers may come in any order, and a key without an answer
    counts as UNKNOWN (submit), `Unclear` (find) or not seen (observe). Each call may be cancelled by the
    engine's deadline at any await.
    """

    safety: Mapping[Verb, Safety]
    poll_s: float
    """Seconds between two observations when nothing wakes the poller sooner."""

    async def start(self) -> None:
        """Make ready. May be called again after `stop`. Raise DriverError if it cannot."""

    async def stop(self) -> None:
        """Let go of everything of ours. Outside work goes on: it must be found again later."""

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Start attempts. Plant each key before or while starting, never after."""

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Say which keys the outside system holds, also those of a former daemon."""

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Say how far attempts are, in one question for all of them where the system allows."""

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Ask to end attempts. Saying it twice, or for a finished attempt, is no error."""

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The attempt's parts for drill-down, at most 1000."""

    def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """Bytes of a part's log from `offset` (negative: that many from the end). With `follow`,
        wait for more until the attempt is over. Raises DriverError PERMANENT for an unknown part."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One memory class of a facility: jobs at a time, memory (bytes), cores and wall time (seconds)
    one job may have, and the jobs that run and wait in it."""

    name: str
    slots: int
    memory: int
    running: int = 0
    queued: int = 0
    cores: int = 1
    walltime_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class FacilityInfo:
    """What the configuration says about a facility, as plugins see it.

    `butlers` maps labels to the facility's own repositories, `stacks` versions to the Python of that
    stack, `settings` driver names to the driver's own settings at this facility (validated by the
    factory's model). `slots` is the number of jobs at a time. Memory in bytes, `walltime_s` in seconds.
    `transport` says how programs are started there, `queues` are its memory classes, `storage` maps
    storage elements to paths, `links` the facilities data can come from to bytes a second (0: not
    measured); None says that nobody has told.
    """

    name: str
    slots: int
    memory: int
    cores: int
    walltime_s: float
    butlers: Mapping[str, str] = field(default_factory=dict)
    stacks: Mapping[str, str] = field(default_factory=dict)
    drivers: Mapping[JobKind, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transport: str = "local"
    queues: tuple[Queue, ...] = ()
    storage: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, float] | None = None


class Agent(Protocol):
    """The facility's agent: Butler work in sets."""

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        """Ask the agent for `op`; returns its JSON result. Raises DriverError with the agent's class:
        PERMANENT for a bad question, TRANSIENT when the agent died or did not answer in time."""


class Host(Protocol):
    """What the daemon lends to a plugin's drivers, splitters and agents."""

    @property
    def state_dir(self) -> Path:
        """A folder of the daemon's own that outlives it, for what a plugin must keep."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC, by the daemon's clock."""

    def wake(self, facility: str, driver: str) -> None:
        """Hint that something changed outside: the poller looks at once. Safe from any thread."""

    def agent(self, facility: str) -> Agent:
        """The agent of a facility. Raises DriverError PERMANENT if none is configured there."""

    def transport(self, facility: str) -> "Transport":
        """The transport of a facility, one for all that runs there. Raises KeyError for an unknown
        facility."""

    def facility(self, name: str) -> FacilityInfo:
        """A facility's configuration. Raises KeyError for an unknown one."""


class DriverFactory(Protocol):
    """Makes the drivers of one kind of outside system, one for each facility that names it."""

    name: str
    kinds: frozenset[JobKind]
    settings: type[BaseModel]

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> Driver:
        """Make the driver of one facility. No I/O here: that is for `start`."""


class AgentFactory(Protocol):
    """Makes the agent of a facility."""

    name: str

    def create(self, facility: FacilityInfo, host: Host) -> "ManagedAgent":
        """Make the agent. It starts at the first call."""


class ManagedAgent(Agent, Protocol):
    """An agent whose life the daemon ends."""

    async def close(self) -> None:
        """End the agent."""


@dataclass(frozen=True, slots=True)
class DataShare:
    """One group's share of a step's data.

    `name` is unique in the step and the same for the same input on any machine ([A-Za-z0-9._-]);
    `where` narrows the step's data query to the share; `region` names the sky region it belongs to;
    `size` is its estimated number of data ids (0: unknown); `data` is for drivers, JSON values.
    """

    name: str
    where: str = ""
    region: str | None = None
    size: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """The step to split: its data query, collections, Butler label, and the splitter's parameters.

    `regions` says where each region of the campaign has been placed so far (`tract/3` -> FrDF)."""

    campaign: str
    step: str
    facility: str
    butler: str
    where: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any]
    region: str | None = None
    regions: Mapping[str, str] = field(default_factory=dict)


class Splitter(Protocol):
    """Shares a step's data into groups."""

    name: str
    needs_facility: bool
    """True if splitting asks a facility (a Butler); False if it only reads its parameters."""

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Problems with the parameters, in words, each starting with the key's name; empty if none."""

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """The shares, in a fixed order; `host` lends the facility's agent. An empty answer holds the
        step for a person. Raises DriverError: PERMANENT holds the step, TRANSIENT and NOT_YET are
        tried again."""


@dataclass(frozen=True, slots=True)
class CommittedEvent:
    """One committed state change, as observers see it. Names are resource names."""

    seq: int
    at: int
    entity: str
    kind: str
    from_state: str
    to_state: str
    cause: str
    actor: str
    reason: str
    facility: str


@runtime_checkable
class EventObserver(Protocol):
    """Told of committed events, in batches, from a bounded queue of its own."""

    name: str

    async def observe(self, events: Sequence[CommittedEvent]) -> None:
        """Take note. An exception is logged and counted; it never reaches the engine."""


@dataclass(frozen=True, slots=True)
class NexusEntry:
    """One line of the nexus log: what an attempt of a movement, which has ended, told of datasets of one
    type. `at` in microseconds UTC, `kind` is that of the job, `counts` has `made`, `sent`, `arrived`,
    `ingested`, `bytes` and the like, as far as the attempt told them."""

    at: int
    campaign: str
    step: str
    group: str
    job: str
    attempt: int
    facility: str
    kind: str
    succeeded: bool
    movement: str
    source: str
    destination: str
    dataset_type: str
    counts: Mapping[str, int]
    gaps: int


@runtime_checkable
class NexusObserver(EventObserver, Protocol):
    """An observer that is told of the nexus log too, from the same queue."""

    async def observe_nexus(self, entries: Sequence[NexusEntry]) -> None:
        """Take note, as `observe`."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know: severity info, warning or urgent, the entity it is about, one
    sentence, and the command that acts on it."""

    severity: str
    entity: str
    text: str
    command: str = ""


class Notifier(Protocol):
    """Carries notices to people."""

    name: str

    async def notify(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Deliver. Returns those it will not carry now, such as in quiet hours: they come again in a
        minute if they still hold then. If it raises, all of them come again, with a pause that doubles:
        a notice may be delivered twice, and is not lost."""
