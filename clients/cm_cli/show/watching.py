"""What `cm watch` shows: a live picture on a terminal, a line for each change elsewhere, or JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Self

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.event_pb2 import Event
from cmd_api.v1.job_pb2 import Job
from cmd_api.v1.step_pb2 import Step
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.text import Text

from cm_client import CmError, short_name
from cm_client.needs import Need

from .console import one_line, row, table, text
from .document import print_line
from .history import event_line
from .status import campaign_head, needs_list, status, step_table
from .text import between, progress_text, state_word

TELLING_JOB_STATES = frozenset({"FAILED", "HELD", "UNCERTAIN"})
LAST_EVENTS = 6
LAST_JOBS = 5


class View(ABC):
    """Where a watched campaign is shown. A context manager."""

    jobs_wanted = 0
    """How many running jobs it has room for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""
        return

    @abstractmethod
    def update(self, campaign: Campaign, steps: Sequence[Step], running: Sequence[Job]) -> None:
        """The campaign as it is now."""

    @abstractmethod
    def events(self, events: Iterable[Event]) -> None:
        """New events, in order."""

    @abstractmethod
    def needs(self, fresh: Sequence[Need], total: int) -> None:
        """What newly waits for a person; an empty list when nothing does any more."""

    @abstractmethod
    def note(self, message: str) -> None:
        """Something about the watching itself."""

    def lost(self, error: CmError, wait: float) -> None:
        """The connection was lost; it is tried again after `wait` seconds."""
        self.note(f"Connection lost, trying again. {error.message}")


class LineView(View):
    """A line for each change, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = ""
        self._last_note = ""
        self._end: RenderableType | None = None

    def __exit__(self, *exception: object) -> None:
        """After the last event, the status the campaign ended with."""
        if self._end is not None:
            self._print(self._end)

    def update(self, campaign: Campaign, steps: Sequence[Step], running: Sequence[Job]) -> None:
        """A line when the campaign's state is new."""
        self._last_note = ""
        state = state_word(campaign)
        if state == self._shown:
            return
        self._shown = state
        if state in ("ACCEPTED", "FAILED", "CANCELLED"):
            self._end = status(campaign, steps, ())
        else:
            done = sum(state_word(step) == "ACCEPTED" for step in steps)
            name = short_name(campaign.name)
            reason = f": {campaign.reason}" if campaign.reason else ""
            start = f" Start it with: cm start {name}" if state == "DRAFT" else ""
            self._print(
                text(f"{name} is {state}, {done} of {len(steps)} steps accepted{reason}.{start}")
            )

    def events(self, events: Iterable[Event]) -> None:
        """A line each; of jobs only what went wrong."""
        for event in events:
            if event.kind != "job" or event.to_state in TELLING_JOB_STATES:
                self._print(event_line(event))

    def needs(self, fresh: Sequence[Need], total: int) -> None:
        """Printed once."""
        if fresh:
            self._print(needs_list(fresh, len(fresh)))

    def note(self, message: str) -> None:
        """Printed once in a row."""
        if message != self._last_note:
            self._last_note = message
            self._print(text(message))

    def _print(self, renderable: RenderableType) -> None:
        # A line of a log stays one line, however long it is.
        self._console.print(renderable, soft_wrap=isinstance(renderable, Text))
        self._console.file.flush()


class JsonView(View):
    """Each event as a JSON line."""

    def update(self, campaign: Campaign, steps: Sequence[Step], running: Sequence[Job]) -> None:
        """Events tell it."""

    def events(self, events: Iterable[Event]) -> None:
        """A line each."""
        for event in events:
            print_line(event)

    def needs(self, fresh: Sequence[Need], total: int) -> None:
        """Events tell it."""

    def note(self, message: str) -> None:
        """Not part of the data."""


class LiveView(View):
    """A picture that is drawn anew: bars of the steps, running jobs, last events."""

    jobs_wanted = LAST_JOBS

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._console = console
        self._campaign = Campaign()
        self._steps: Sequence[Step] = ()
        self._jobs: Sequence[Job] = ()
        self._events: deque[Event] = deque(maxlen=LAST_EVENTS)
        self._needs: Sequence[Need] = ()
        self._total = 0
        self._note = ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """The picture gives way to the status, which stays."""
        self._live.stop()
        if self._campaign.name:
            self._console.print(status(self._campaign, self._steps, self._needs))

    def update(self, campaign: Campaign, steps: Sequence[Step], running: Sequence[Job]) -> None:
        """Draw."""
        self._campaign, self._steps, self._jobs = campaign, steps, running
        self._note = ""
        self._draw()

    def events(self, events: Iterable[Event]) -> None:
        """The newest stay in the picture."""
        self._events.extend(
            event for event in events if event.kind != "job" or event.to_state in TELLING_JOB_STATES
        )
        self._draw()

    def needs(self, fresh: Sequence[Need], total: int) -> None:
        """Printed once above the picture, and counted in it."""
        if fresh:
            self._console.print(needs_list(fresh, len(fresh)))
        self._needs, self._total = fresh or (self._needs if total else ()), total
        self._draw()

    def note(self, message: str) -> None:
        """In the picture until the next update."""
        self._note = message
        self._draw()

    def _draw(self) -> None:
        self._live.update(self._picture())

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [campaign_head(self._campaign), step_table(self._steps)]
        if self._jobs:
            grid = table("Running job", "Since", "Progress")
            for job in self._jobs[:LAST_JOBS]:
                name = short_name(job.name).partition("/")[2]
                since = between(job.start_time, type(job.start_time)())
                row(grid, name, since, progress_text(job.progress))
            more = self._campaign.job_counts.get("RUNNING", 0) - len(self._jobs[:LAST_JOBS])
            parts += [grid, text(f"… and {more} more running")] if more > 0 else [grid]
        parts += [one_line(event_line(event)) for event in self._events]
        if self._campaign.needs_person:
            count = self._campaign.needs_person
            name = short_name(self._campaign.name)
            parts.append(text(f"{count} wait for a person: cm status {name}", "bold yellow"))
        parts.append(text(self._note or "Ctrl-C ends the watching only.", "bright_black"))
        return Stack(*parts)
