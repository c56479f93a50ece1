"""What an attempt came to, as a driver tells it: the only thing the kernel judges a job by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class ErrorClass(StrEnum):
    """How an outside error is to be taken.

    TRANSIENT: the same call may work later (counted, backed off). NOT_YET: a precondition is not
    there yet (not counted, paced). PERMANENT: trying again cannot help. UNKNOWN: nobody knows
    whether the call took effect; look up before anything else.
    """

    TRANSIENT = "Transient"
    NOT_YET = "NotYet"
    PERMANENT = "Permanent"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class QuantaCount:
    """Quanta of one task over all attempts of the group; `blocked` ones had a failed input."""

    expected: int = 0
    successful: int = 0
    failed: int = 0
    blocked: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed quantum, or (task "") the failure of the attempt as a whole."""

    task: str = ""
    data_id: str = ""
    message: str = ""
    exit: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt.

    `ok` is the driver's own word; the kernel believes it only if the quanta agree: for each task
    expected = successful. `message` is for people. `failures` is a sample of at most 200.
    `output_run` is the RUN collection the attempt wrote to (process jobs). Times in microseconds
    UTC; `extra` is shown to people and never decided on (JSON values only).
    """

    ok: bool
    message: str = ""
    exit_code: int | None = None
    error_class: ErrorClass | None = None
    quanta: Mapping[str, QuantaCount] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    output_run: str | None = None
    started_at: int | None = None
    finished_at: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def expected(self) -> int:
        """Quanta the attempt's graph promised, all tasks."""
        return sum(q.expected for q in self.quanta.values())

    @property
    def successful(self) -> int:
        """Quanta that succeeded, all tasks."""
        return sum(q.successful for q in self.quanta.values())
