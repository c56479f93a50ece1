"""A toy store, a toy outside world that lies, loses answers and throttles, and campaigns to run in them."""

from dataclasses import dataclass, field
from random import Random

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.outcome import ErrorClass, Failure, Outcome, QuantaCount
from cmd_daemon.kernel.policy import (
    ErrorRule,
    JobTemplate,
    PlacementPlan,
    RetryPolicy,
    RuleAction,
    StepPolicy,
)
from cmd_daemon.kernel.records import Effect, FacilityState
from cmd_daemon.kernel.states import (
    FINAL_CAMPAIGN,
    FINAL_GROUP,
    FINAL_JOB,
    FINAL_STEP,
    CampaignState,
    JobKind,
    JobState,
)

FINAL: dict[type, frozenset[str]] = {
    Campaign: frozenset(FINAL_CAMPAIGN),
    Step: frozenset(FINAL_STEP),
    Group: frozenset(FINAL_GROUP),
    Job: frozenset(FINAL_JOB),
}


class ToyStore:
    """What is committed. Takes a batch whole; refuses, as the real one, what contradicts its rows."""

    def __init__(self) -> None:
        self.rows: dict[int, Entity] = {}
        self.effects: dict[str, Effect] = {}
        self.attempts: set[tuple[int, int]] = set()
        self.names: set[tuple[int, str]] = set()
        self.facilities: dict[str, FacilityState] = {}

    def commit(self, batch: Batch) -> None:
        """Write a batch; AssertionError if a row, a name or a key is not as the batch expects."""
        for ident, update in batch.updates.items():
            old = self.rows[ident]
            assert old.version == update.expected, (old, update)
            assert update.entity.version > old.version, (old, update.entity)
            # A job of a group that was moved begins anew.
            final = old.state in FINAL[type(old)] and old.state is not JobState.SUCCEEDED
            if final and update.entity.state != old.state:
                assert update.entity.state is CampaignState.ARCHIVED, (old, update.entity)
            self.rows[ident] = update.entity
        for ident, entity in batch.created.items():
            assert ident == entity.id
            assert ident not in self.rows, entity
            if isinstance(entity, Group):
                assert (entity.step_id, entity.name) not in self.names, entity
                self.names.add((entity.step_id, entity.name))
            self.rows[ident] = entity
        for key in batch.effects_done:
            assert self.effects.pop(key, None) is not None, f"{key} was not in the outbox"
        for key, effect in batch.effects.items():
            assert key not in self.effects, f"{key} is in the outbox already"
            self.effects[key] = effect
        self.facilities.update(batch.facilities)
        for row in batch.attempts:
            assert (row.job_id, row.number) not in self.attempts, row
            self.attempts.add((row.job_id, row.number))


@dataclass
class Work:
    """One attempt as the outside system holds it."""

    key: str
    ref: str
    polls: int
    cancelled: bool = False
    over: bool = False
    paused: bool = False
    coming: bool | None = None
    """Paused or not, before long: a command that was taken and does not show yet."""


@dataclass
class Outside:
    """All outside systems in one. `ledger` counts how often each key really started."""

    rng: Random
    evil: float = 0.3
    ledger: dict[str, int] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)

    def submit(self, key: str) -> str | tuple[ErrorClass, str]:
        """The reference, or why not. UNKNOWN may or may not have started it."""
        dice = self.rng.random()
        if dice < self.evil:
            error = self.rng.choice(list(ErrorClass))
            if error is ErrorClass.UNKNOWN and self.rng.random() < 0.5:
                self._start(key)
            return error, f"the outside answers {error}"
        return self._start(key)

    def _start(self, key: str) -> str:
        self.ledger[key] = self.ledger.get(key, 0) + 1
        work = Work(key, f"ref-{key}", self.rng.choice([0, 2, 40]))
        self.work[key] = work
        return work.ref

    def find(self, key: str) -> str | ErrorClass | None:
        """The reference, None if certainly absent, UNKNOWN if nobody can tell."""
        if self.rng.random() < self.evil / 2:
            return ErrorClass.UNKNOWN
        work = self.work.get(key)
        return work.ref if work is not None else None

    def cancel(self, key: str) -> bool:
        """True if asked for; False if it could not be."""
        if self.rng.random() < self.evil:
            return False
        if key in self.work and self.rng.random() >= self.evil / 3:
            self.work[key].cancelled = True
        return True

    def control(self, key: str, verb: str) -> ErrorClass | None:
        """Look, and ask for what is not so yet; None if it is so. A command that was taken may show only
        later; a second one overwrites it."""
        dice, still = self.rng.random(), verb == "pause"
        work = self.work.get(key)
        if work is None or work.over or verb not in ("pause", "resume"):
            refusals = [ErrorClass.PERMANENT, ErrorClass.TRANSIENT, ErrorClass.NOT_YET]
            return self.rng.choice(refusals) if dice < self.evil else None
        if work.paused is still and work.coming in (None, still):
            return None
        if dice < self.evil / 4:
            return ErrorClass.PERMANENT
        if dice < self.evil:
            work.coming = self.rng.choice([work.coming, still])
            return self.rng.choice([ErrorClass.NOT_YET, ErrorClass.UNKNOWN, ErrorClass.TRANSIENT])
        work.paused, work.coming = still, None
        return None

    def stands(self, key: str) -> bool:
        """Whether nothing of an attempt goes on."""
        work = self.work.get(key)
        return work is None or work.paused or work.over or work.cancelled or key in self.forgotten

    def observe(self, key: str, kind: JobKind) -> str | Outcome:
        """QUEUED, RUNNING, GONE, or the outcome."""
        work = self.work.get(key)
        if work is None or self.rng.random() < self.evil / 10:
            self.forgotten.add(key)
            return "GONE"
        if work.cancelled:
            work.over = True
            return Outcome(False, "cancelled outside")
        if work.coming is not None and self.rng.random() < 0.3:
            work.paused, work.coming = work.coming, None
        if work.paused:
            return "RUNNING"
        if work.polls:
            work.polls -= 1
            return self.rng.choice(["QUEUED", "RUNNING"])
        work.over = True
        return self.outcome(kind)

    def outcome(self, kind: JobKind) -> Outcome:
        """How an attempt ends; some of them lie."""
        if kind is not JobKind.PROCESS:
            bad = self.rng.random() < self.evil
            error = self.rng.choice([None, ErrorClass.PERMANENT, ErrorClass.TRANSIENT])
            return Outcome(
                not bad, "script said no" if bad else "", error_class=error if bad else None
            )
        if self.rng.random() < self.evil / 3:
            return Outcome(False, "killed", exit_code=137)
        lost = self.rng.choice([1, 2, 3, 10]) if self.rng.random() < self.evil * 1.5 else 0
        unknown = 2 if self.rng.random() < self.evil / 4 else 0
        word = self.rng.choice(["flat", "boom", "boom", "boom", "stop", "never"])
        count = QuantaCount(10, 10 - lost, lost, 0, unknown)
        failures = tuple(Failure("isr", f"visit={i}", word, 1) for i in range(lost))
        return Outcome(not lost, quanta={"isr": count}, failures=failures)

    def live(self) -> set[str]:
        """Keys that still run although nobody forgot them."""
        return {w.key for w in self.work.values() if not w.over} - self.forgotten


RULES = (
    ErrorRule(RuleAction.ACCEPT, task="isr", message="flat", up_to=0.2),
    ErrorRule(RuleAction.RETRY, exit=137),
    ErrorRule(RuleAction.HOLD, message="stop"),
    ErrorRule(RuleAction.FAIL, message="never"),
)
PROCESS = JobTemplate("process", JobKind.PROCESS)
SCRIPT = JobTemplate("warm", JobKind.SCRIPT)
COLLECT = JobTemplate("collect", JobKind.COLLECT, driver="butler")


def step_policy(after: tuple[str, ...] = (), **changes: object) -> StepPolicy:
    """A step with one process job and all error rules, unless changed."""
    values: dict[str, object] = {
        "after": after,
        "jobs": (PROCESS,),
        "retry": RetryPolicy(attempts=2, backoff_s=30.0),
        "at_least": 0.85,
        "errors": RULES,
        "placement": PlacementPlan(),
    }
    return StepPolicy(**(values | changes))  # type: ignore[arg-type]


def campaign_steps(rng: Random) -> dict[str, StepPolicy]:
    """One of a few shapes: a single step, a chain with a sign-off, a diamond with optional parts."""
    shape = rng.randrange(4)
    if shape == 0:
        return {"only": step_policy()}
    if shape == 1:
        return {
            "first": step_policy(jobs=(SCRIPT, PROCESS, COLLECT)),
            "sign": StepPolicy(after=("first",), breakpoint="look"),
            "last": step_policy(("sign",), jobs=(PROCESS, COLLECT)),
        }
    if shape == 2:
        return {
            "top": step_policy(),
            "left": step_policy(("top",), optional=True),
            "right": step_policy(("top",), breakpoint="look at it"),
            "bottom": step_policy(("top", "left", "right"), optional=True),
            "report": step_policy(("bottom",), jobs=(SCRIPT,), optional=True),
        }
    return {"one": step_policy(), "two": step_policy(jobs=(COLLECT,))}


def changed_steps(rng: Random, steps: dict[str, StepPolicy]) -> dict[str, StepPolicy]:
    """A new version of a file: a step more, one fewer, another bar, another order."""
    new = dict(steps)
    turn = rng.randrange(4)
    if turn == 0:
        new[f"more{len(new)}"] = step_policy((rng.choice(list(steps)),) if steps else ())
    elif turn == 1 and len(new) > 1:
        out = rng.choice(list(new))
        del new[out]
        for name, policy in new.items():
            left = tuple(a for a in policy.after if a != out)
            new[name] = step_policy(left, jobs=policy.jobs, breakpoint=policy.breakpoint)
    elif turn == 2:
        name = rng.choice(list(new))
        if new[name].jobs:
            new[name] = step_policy(new[name].after, jobs=new[name].jobs, at_least=0.5)
    else:
        name = list(new)[-1]
        new[name] = step_policy((), jobs=new[name].jobs, breakpoint="look")
    return new
