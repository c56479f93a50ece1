"""The world of one server: its rows, its numbers, its agenda, and what it tells the broker."""

import heapq
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Protocol

from panda_server.idds import agents
from panda_server.idds.requests import Request, Transform
from panda_server.model import commands, jobs, tasks
from panda_server.model.clock import Clock
from panda_server.model.entities import Input, Job, Task
from panda_server.model.pace import Pace
from panda_server.model.pilot import Pilot
from panda_server.model.queues import Queues


class Timed(Protocol):
    """A row with a time at which something happens to it by itself."""

    id: int
    due: datetime | None


WORKS: dict[str, Callable[[Any, Any], None]] = {
    "Task": tasks.work,
    "Job": jobs.work,
    "Command": commands.work,
    "Request": agents.work,
}


def epoch(moment: datetime) -> int:
    """Whole seconds since 1970 of a naive UTC time, as messages carry them."""
    return int(moment.replace(tzinfo=UTC).timestamp())


class World:
    """All that the server knows. Hold `lock` around anything that reads or changes it."""

    def __init__(self, clock: Clock | None = None, pace: Pace | None = None) -> None:
        self.lock = threading.RLock()
        self.clock = clock or Clock()
        self.pace = pace or Pace()
        self.pilot = Pilot()
        self.queues = Queues()
        self.tasks: dict[int, Task] = {}
        self.inputs: dict[int, Input] = {}
        self.jobs: dict[int, Job] = {}
        self.requests: dict[int, Request] = {}
        self.transforms: dict[int, Transform] = {}
        self.idds_agents = False
        # Jobs that have not ended.
        self.active: dict[int, Job] = {}
        self.files: dict[str, bytes] = {}
        self.jedi_logs: dict[str, str] = {}
        self.retry_hangs = False
        self.jedi_log_error: str | None = None
        self.max_active_tasks: int | None = None
        # A longer list of job numbers is answered as if it had ended here.
        self.most_ids = 5500
        self.tokens_since: datetime | None = None
        self.url = ""
        self.numbers: dict[str, int] = defaultdict(int)
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self.touched: dict[tuple[str, Any], Any] = {}
        self.sticky: list[tuple[str, str]] = []
        self._agenda: list[tuple[datetime, int, str, Timed]] = []
        self._entries = 0

    # ---- numbers and rows

    def number(self, kind: str) -> int:
        """The next number of a kind: `task`, `job`, `dataset`, `file`, `log`, `row`, `request`."""
        self.numbers[kind] += 1
        return self.numbers[kind]

    def touch(self, row: Any) -> None:
        """A row has changed and is to be kept."""
        self.touched[(type(row).__name__, row.id)] = row

    # ---- time

    def now(self) -> datetime:
        """The present of the model: naive UTC."""
        return self.clock.now()

    def alarm(self, row: Any, seconds: float | None) -> None:
        """Wake the row's work after so many seconds; None for never."""
        row.due = None if seconds is None else self.now() + timedelta(seconds=seconds)
        self.touch(row)
        self.schedule(row)

    def schedule(self, row: Any) -> None:
        """Put a row with a due time on the agenda."""
        if row.due is not None:
            self._entries += 1
            heapq.heappush(self._agenda, (row.due, self._entries, type(row).__name__, row))

    def run_due(self) -> None:
        """Let happen what is due, each at its own moment, in the order of time."""
        while self._agenda and self._agenda[0][0] <= self.clock.wall():
            due, _, kind, row = heapq.heappop(self._agenda)
            if row.due != due:
                continue
            row.due = None
            self.clock.work_at(due)
            try:
                WORKS[kind](self, row)
            finally:
                self.clock.work_at(None)

    def advance(self, seconds: float) -> None:
        """Move time, and let happen what falls into it."""
        with self.lock:
            self.clock.move(seconds)
            self.run_due()

    def next_due(self) -> datetime | None:
        """When the next thing happens by itself."""
        while self._agenda and self._agenda[0][3].due != self._agenda[0][0]:
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def sticks(self, task: Task) -> str | None:
        """How a task of such a name is to get stuck; see `faults`."""
        name = str(task.parameters["taskName"])
        return next((how for pattern, how in self.sticky if fnmatchcase(name, pattern)), None)

    # ---- messages

    def tell(self, body: dict[str, Any]) -> None:
        """Give a message to those who publish."""
        body["timestamp"] = epoch(self.now())
        for listener in self.listeners:
            listener(body)
