"""The rows of the server: tasks with their inputs, and jobs. What is not here has no state."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

FINAL_TASK = {"done", "finished", "failed", "aborted", "broken"}
FINAL_JOB = {"finished", "failed", "cancelled", "closed"}
ERROR_SOURCES = ("pilot", "exe", "sup", "ddm", "brokerage", "jobDispatcher", "taskBuffer")


@dataclass
class Command:
    """The one command that waits for a task, whose number it has; a second overwrites it."""

    id: int
    verb: str
    comment: str
    due: datetime | None
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass
class Task:
    """A JEDI task. `visible` after refinement; `due` is when something happens to it by itself."""

    id: int
    parameters: dict[str, Any]
    owner: str
    submitted: datetime
    parent: int | None = None
    visible: bool = False
    status: str = "waiting"
    old_status: str | None = None
    super_status: str = "registered"
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    frozen: datetime | None = None
    changed: datetime | None = None
    modified: datetime | None = None
    locked: datetime | None = None
    assessed: datetime | None = None
    activated: datetime | None = None
    queued: datetime | None = None
    error: str | None = None
    refined: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    scouts: bool = False
    dataset: int = 0
    log_dataset: int = 0
    logs: list[list[Any]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)
    command: Command | None = None
    due: datetime | None = None
    stuck: str | None = None
    request: int | None = None


@dataclass
class Input:
    """A file of a task's input dataset; of a pseudo-file there is nothing but the name."""

    id: int
    task: int
    name: str
    serial: int
    guid: str
    status: str = "ready"
    attempt: int = 0
    max_attempt: int = 3
    job: int | None = None
    first_job: int | None = None
    ram: int = 0

    @property
    def lfn(self) -> str:
        """The logical file name: a serial, and the pseudo-file's own name."""
        return f"{self.serial:06d}:{self.name}"

    @property
    def spent(self) -> bool:
        """Whether it failed and no attempt is left."""
        return self.status == "ready" and self.attempt >= self.max_attempt

    @property
    def open(self) -> bool:
        """Whether anything may still happen to it."""
        return self.status not in ("finished", "missing") and not self.spent


@dataclass
class Job:
    """A PanDA job: one attempt at one input."""

    id: int
    task: int
    input: int
    name: str
    site: str
    status: str
    created: datetime
    modified: datetime
    priority: int
    attempt: int
    parameters: str
    ram: int
    log_file: int
    log_guid: str | None
    row: int
    host: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    command: str | None = None
    exit_code: str | None = None
    cpu: int = 0
    max_rss: int | None = None
    log_url: str | None = None
    log_size: int = 0
    errors: dict[str, list[Any]] = field(default_factory=dict)
    due: datetime | None = None
    mark: float = 0.0
    report: dict[str, Any] | None = None
