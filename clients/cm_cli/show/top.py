"""What `cm top` shows: campaigns, facilities, what waits for a person and the last events, on one screen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.daemon_pb2 import Daemon
from cmd_api.v1.event_pb2 import Event
from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.step_pb2 import Step
from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cm_client import CmError, short_name
from cm_client.forecast import done_of, forecast
from cm_client.needs import Need

from .bars import StateBar
from .console import one_line, row, state_text, text
from .facilities import facility_state, state_words
from .history import event_line
from .text import FINAL, duration, state_word

EVENTS = 20
LEAST = 3
"""Lines that each part has at least, as far as it has anything to say."""

Line = Text | Table


@dataclass
class Snapshot:
    """Everything at one moment; `steps` are those of the campaign that is opened."""

    daemon: Daemon
    address: str
    actor: str
    campaigns: Sequence[Campaign]
    facilities: Sequence[Facility]
    needs: Sequence[Need]
    steps: Sequence[Step]
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS))


class Screen:
    """The picture on the terminal, and what a person has chosen in it. A context manager."""

    def __init__(self, console: Console) -> None:
        self.opened = ""
        self._console = console
        self._live = Live(console=console, auto_refresh=False, screen=True)
        self._snapshot: Snapshot | None = None
        self._chosen = ""
        self._note = ""

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Draw it."""
        self._snapshot, self._note = snapshot, ""
        names = self._names()
        if self._chosen not in names:
            self._chosen = names[0] if names else ""
        self._draw()

    def add(self, events: Iterable[Event]) -> None:
        """New events, at once; the rest follows with the next look."""
        told = list(events)
        if told and self._snapshot is not None:
            self._snapshot.events.extend(told)
            self._draw()

    def lost(self, error: CmError, wait: float) -> None:
        """There is no daemon; the picture stays as it was."""
        self._note = f"Connection lost, trying again. {error.message}"
        self._draw()

    def press(self, key: str) -> bool:
        """Do what a key says; whether the daemon has to be looked at for it."""
        names = self._names()
        if key in ("up", "down") and names:
            at = names.index(self._chosen) + (1 if key == "down" else -1)
            self._chosen = names[max(0, min(len(names) - 1, at))]
            self._draw()
            return bool(self.opened)
        if key == "in" and self._chosen and not self.opened:
            self.opened = self._chosen
            return True
        if key == "out" and self.opened:
            self.opened = ""
            return True
        return False

    def _names(self) -> list[str]:
        """What can be chosen: the campaigns; while one is opened, nothing else."""
        if self._snapshot is None or self.opened:
            return [self.opened] if self.opened else []
        return [campaign.name for campaign in self._snapshot.campaigns]

    def _draw(self) -> None:
        if self._snapshot is not None:
            size = self._console.size
            keys = (
                "q quit  ↑↓ choose  → steps of it" if not self.opened else "q quit  ← all campaigns"
            )
            foot = text(self._note, "bold red") if self._note else text(keys, "bright_black")
            chosen = "" if self.opened else self._chosen
            picture = top(self._snapshot, size.height, chosen, self.opened, foot)
            self._live.update(picture, refresh=True)


def top(
    now: Snapshot, height: int, chosen: str = "", opened: str = "", foot: Text | None = None
) -> RenderableType:
    """The picture, in `height` lines at most; 0 for as many as it needs."""
    what = (
        ("Campaign", _campaigns(now, chosen))
        if not opened
        else (f"Steps of {short_name(opened)}", _steps(now))
    )
    parts: list[tuple[str, list[Line]]] = [
        what,
        ("Facility", [_facility(each) for each in now.facilities]),
        ("Waits for a person", [_need(each) for each in now.needs]),
        ("Last events", [one_line(event_line(each)) for each in reversed(now.events)]),
    ]
    parts = [(title, lines) for title, lines in parts if lines]
    fixed = 1 + len(parts) + (1 if foot is not None else 0)
    rooms = _rooms([len(lines) for _, lines in parts], height - fixed if height else 0)
    shown: list[RenderableType] = [_head(now)]
    for (title, lines), room in zip(parts, rooms, strict=True):
        more = f"  … {len(lines) - room} more" if room < len(lines) else ""
        shown.append(one_line(text(title, "bold").append_text(text(more, "bright_black"))))
        shown += lines[:room]
    if foot is not None:
        shown.append(one_line(foot))
    return Stack(*shown)


def _rooms(wanted: Sequence[int], room: int) -> list[int]:
    """Lines for each part: all they want if there is room (0: always), else first `LEAST` each, then the
    rest from the first part to the last."""
    if not room or sum(wanted) <= room:
        return list(wanted)
    given = [0] * len(wanted)
    for least in (LEAST, room):
        for at, lines in enumerate(wanted):
            more = min(lines, least) - given[at]
            given[at] += max(0, min(more, room - sum(given)))
    return given


def _head(now: Snapshot) -> Text:
    waits = sum(c.needs_person for c in now.campaigns if state_word(c) not in FINAL)
    line = Text.assemble(
        text("cm top", "bold"),
        text(f"  {datetime.now(UTC):%H:%M:%S} UTC  {now.actor}  "),
        text("daemon ok", "green")
        if now.daemon.accepting
        else text(f"daemon: {now.daemon.problem}", "bold red"),
        text(f"  {now.daemon.open_jobs} open jobs"),
    )
    if waits:
        line.append_text(text(f"  {waits} wait for a person", "bold yellow"))
    return one_line(line)


def _grid(*widths: int | None) -> Table:
    """One line of columns; None takes what is left."""
    grid = Table.grid(padding=(0, 1), expand=True)
    for width in widths:
        grid.add_column(
            width=width, ratio=1 if width is None else None, no_wrap=True, overflow="ellipsis"
        )
    return grid


def _campaigns(now: Snapshot, chosen: str) -> list[Line]:
    lines: list[Line] = []
    for campaign in now.campaigns:
        grid = _grid(1, 16, 10, None, 12, 4, 14)
        done, total = done_of(campaign.group_counts)
        at = campaign.name == chosen
        state = state_word(campaign)
        waits = campaign.needs_person and state not in FINAL
        row(
            grid,
            text(">" if at else " ", "bold"),
            text(short_name(campaign.name), "reverse" if at else ""),
            state_text(state),
            StateBar(campaign.group_counts, most=200),
            text(f"{done}/{total}"),
            text(campaign.needs_person if waits else "", "bold yellow"),
            _ends(campaign),
        )
        lines.append(grid)
    return lines or [text("No campaigns. Make one with: cm apply FILE")]


def _ends(campaign: Campaign) -> Text:
    told = forecast(campaign)
    if told.left_s is None:
        return text(told.note, "bright_black")
    return text(f"{'>' if told.least else '~'} {duration(told.left_s)}")


def _steps(now: Snapshot) -> list[Line]:
    lines: list[Line] = []
    for step in now.steps:
        grid = _grid(1, 20, 10, None, 12, 4)
        done, total = done_of(step.group_counts)
        waits = step.group_counts.get("HELD", 0) + step.group_counts.get("REVIEW", 0)
        row(
            grid,
            "",
            short_name(step.name).rpartition("/")[2],
            state_text(state_word(step)),
            StateBar(step.group_counts, most=200),
            text(f"{done}/{total}" if total else ""),
            text(waits or "", "bold yellow"),
        )
        lines.append(grid)
    return lines or [text("It has no steps.")]


def _facility(facility: Facility) -> Line:
    grid = _grid(1, 16, 10, 24, 12, None)
    idle = max(0, facility.slots - facility.running)
    row(
        grid,
        "",
        short_name(facility.name),
        facility_state(facility),
        StateBar({"RUNNING": facility.running, "WAITING": idle}, most=24),
        text(f"{facility.running}/{facility.slots}"),
        text(f"{facility.queued} ready" if facility.queued else "").append_text(
            text(f" {state_words(facility)}", "bright_black")
        ),
    )
    return grid


def _need(need: Need) -> Line:
    line = Text.assemble("  ", state_text(need.state), " ", text(need.name, "bold"))
    if need.reason:
        line.append_text(text(f": {need.reason}"))
    return one_line(line)
