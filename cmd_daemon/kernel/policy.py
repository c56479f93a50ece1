"""What a campaign file says about one step, in the form the kernel decides with.

Made by `cmd_daemon.spec` from the campaign file, stored with the step, read by `decide`. Plain
frozen dataclasses: durations in seconds, memory in bytes, shares between 0 and 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cmd_daemon.kernel.states import JobKind


class RuleAction(StrEnum):
    """What an error rule does with the failures it matches."""

    RETRY = "retry"
    ACCEPT = "accept"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """First match wins. A field that is None matches everything.

    `task` matches a task label exactly or as a glob, `message` is a regular expression searched in
    the failure's message, `exit` an exit code. `up_to` (for `accept`) is the largest share of the
    group's quanta that may be lost by this rule.
    """

    action: RuleAction
    task: str | None = None
    message: str | None = None
    exit: int | None = None
    up_to: float = 1.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how a failed attempt is tried again.

    `attempts` counts all attempts, the first included. The pause before attempt n+1 is
    `backoff_s * 2**(n-1)`, at most `backoff_max_s`. Memory of attempt n is
    `min(m0 * memory_factor**(n-1), memory_max)`, the rule of BPS (`memoryMultiplier`, `memoryLimit`).
    """

    attempts: int = 3
    backoff_s: float = 60.0
    backoff_max_s: float = 3600.0
    memory_factor: float = 1.0
    memory_max: int | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job of the step asks for: memory in bytes, whole cores, wall time in seconds."""

    memory: int = 2 * 1024**3
    cores: int = 1
    walltime_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class JobTemplate:
    """One job that each group of the step has, in the order of the chain.

    `params` is what only the driver of that kind understands (pipeline, script, collections, ...),
    JSON values only. `driver` names a driver outright; None takes the facility's for the kind.
    """

    name: str
    kind: JobKind
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    driver: str | None = None


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """How a step's data is shared into groups: the splitter's name, its own parameters, and the
    facility whose Butler is asked if the file names one."""

    splitter: str = "none"
    params: Mapping[str, Any] = field(default_factory=dict)
    at: str | None = None


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    """What the campaign file says about where groups run; `at` pins the whole step.

    `inputs` are the dataset types that a facility must hold for a group (empty: nobody counts);
    `params` are the algorithm's own parameters."""

    algorithm: str = "pinned"
    facilities: tuple[str, ...] = ()
    at: str | None = None
    region: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepPolicy:
    """Everything the kernel and the drivers need to know about one step.

    `inputs` are the collections a group of the step reads, nearest first; `output` is the step's
    chained collection; `where` the campaign's and the step's data query, already joined.
    A step with no `jobs` is a pure breakpoint.
    """

    after: tuple[str, ...] = ()
    optional: bool = False
    breakpoint: str | None = None
    jobs: tuple[JobTemplate, ...] = ()
    split: SplitPlan = field(default_factory=SplitPlan)
    placement: PlacementPlan = field(default_factory=PlacementPlan)
    resources: Resources = field(default_factory=Resources)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    at_least: float = 1.0
    errors: tuple[ErrorRule, ...] = ()
    where: str = ""
    stack: str = ""
    butler: str = ""
    inputs: tuple[str, ...] = ()
    output: str = ""
