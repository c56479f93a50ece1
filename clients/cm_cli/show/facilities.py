"""Facilities: all at a glance, and one with all it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cmd_api.v1.facility_pb2 import DriverHealth, Facility, FacilityLimits, StorageElement
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.console import Group as Stack
from rich.measure import Measurement
from rich.text import Text

from cm_client import short_name

from .console import facts, row, table, text
from .text import duration, moment, size

BAR = 10
"""Columns of a bar of storage."""
FEW = 0.1
"""Share of free space below which a storage element is shown in red."""


class StorageLines:
    """A line for each storage element: how full it is and what is free."""

    def __init__(self, elements: Sequence[StorageElement]) -> None:
        self._elements = elements

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths = [line.cell_len for line in self._lines(True)]
        return Measurement(
            min(12, options.max_width), min(max(widths, default=0), options.max_width)
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._lines(options.ascii_only)

    def _lines(self, ascii_only: bool) -> Iterable[Text]:
        full, empty = "#." if ascii_only else "█░"
        for element in self._elements:
            line = text(f"{element.element} ")
            if element.HasField("free") and element.HasField("total") and element.total > 0:
                share = max(0.0, min(1.0, element.free / element.total))
                used = round(BAR * (1 - share))
                style = "bold red" if share < FEW else "green"
                line.append(full * used + empty * (BAR - used), style)
                line.append_text(text(f" {size(element.free)} free"))
            elif element.HasField("free"):
                line.append_text(text(f"{size(element.free)} free"))
            else:
                line.append_text(text(element.message or "not known", "bright_black"))
            yield line


def facility_state(facility: Facility) -> Text:
    """up, down, drained or killed in its colour."""
    if facility.killed:
        return text("killed", "bold red")
    if facility.drained:
        return text("drained", "yellow")
    return text("up", "green") if facility.up else text("down", "red")


def state_words(facility: Facility) -> str:
    """Why a facility takes no work; empty if it does."""
    words = []
    if facility.killed or facility.drained:
        done = "killed" if facility.killed else "drained"
        words.append(f"{done} by {facility.actor}: {facility.reason}")
    if facility.ending:
        words.append(f"{facility.ending} jobs are ending")
    if facility.down_reason and not (facility.killed or facility.drained):
        words.append(facility.down_reason)
    return "; ".join(words)


def facility_table(facilities: Iterable[Facility]) -> RenderableType:
    """Facilities, each with its slots, storage and drivers."""
    right = ("Slots", "Ready")
    grid = table("Facility", "State", *right, "Storage", "Drivers", "Message", right=right)
    for facility in facilities:
        row(
            grid,
            short_name(facility.name),
            facility_state(facility),
            f"{facility.running}/{facility.slots}",
            facility.queued,
            StorageLines(facility.storage),
            Text("\n").join(_driver(driver) for driver in facility.drivers),
            _message(facility),
        )
    return grid


def _driver(driver: DriverHealth) -> Text:
    works = driver.breaker == "closed"
    return text(f"{driver.driver} {driver.breaker}", "" if works else "bold red")


def _message(facility: Facility) -> Text:
    lines = [text(state_words(facility))] if state_words(facility) else []
    several = len(facility.drivers) > 1
    for driver in facility.drivers:
        if driver.message and driver.message not in facility.down_reason:
            lines.append(text(f"{driver.driver}: {driver.message}" if several else driver.message))
    return Text("\n").join(lines)


def facility_facts(facility: Facility) -> RenderableType:
    """All about a facility."""
    parts: list[RenderableType] = [_about(facility)]
    for title, part in (
        ("Queues", _queues(facility)),
        ("Drivers", _drivers(facility)),
        ("Storage", _storage(facility)),
        ("Health checks", _checks(facility)),
        ("What is there", _load(facility)),
    ):
        if part is not None:
            parts += ["", text(title, "bold"), part]
    return Stack(*parts)


def _about(facility: Facility) -> RenderableType:
    butlers = ", ".join(f"{label} = {place}" for label, place in sorted(facility.butlers.items()))
    return facts(
        [
            ("facility", short_name(facility.name)),
            ("state", facility_state(facility)),
            ("why", state_words(facility)),
            ("since", moment(facility.drain_time) if facility.killed or facility.drained else ""),
            ("running", f"{facility.running} of {facility.slots} slots, {facility.queued} ready"),
            ("a job may have", _most(facility.memory, facility.cores, facility.walltime)),
            ("edited limits", limits_text(facility.edited)),
            ("transport", facility.transport),
            ("butlers", butlers),
            ("stacks", ", ".join(facility.stacks)),
            ("etag", facility.etag),
        ]
    )


def _most(memory: int, cores: int, walltime: float) -> str:
    words = [size(memory) if memory else "", f"{cores} cores" if cores else ""]
    words.append(duration(walltime) if walltime else "")
    return ", ".join(filter(None, words))


def limits_text(limits: FacilityLimits) -> str:
    """Limits in words; empty if none is said."""
    words = []
    if limits.HasField("slots"):
        words.append(f"slots {limits.slots}")
    if limits.HasField("memory"):
        words.append(f"memory {size(limits.memory)}")
    if limits.HasField("cores"):
        words.append(f"cores {limits.cores}")
    if limits.HasField("walltime"):
        words.append(f"walltime {duration(limits.walltime)}")
    words += [f"driver {name} {number}" for name, number in sorted(limits.lanes.items())]
    words += [f"queue {name} {number}" for name, number in sorted(limits.queues.items())]
    return ", ".join(words)


def _queues(facility: Facility) -> RenderableType | None:
    if not facility.queues:
        return None
    right = ("Running", "Slots", "Ready")
    grid = table("Queue", *right, "A job may have", right=right)
    for queue in facility.queues:
        most = _most(queue.memory, queue.cores, queue.walltime)
        row(grid, queue.queue, queue.running, queue.slots, queue.ready, most)
    return grid


def _drivers(facility: Facility) -> RenderableType | None:
    if not facility.drivers:
        return None
    right = ("Outside", "Limit", "Ready")
    grid = table("Driver", "Breaker", *right, "Last success", "Message", right=right)
    for driver in facility.drivers:
        works = driver.breaker == "closed"
        row(
            grid,
            driver.driver,
            text(driver.breaker, "" if works else "bold red"),
            driver.in_flight,
            driver.limit or "",
            driver.ready,
            moment(driver.last_success_time),
            driver.message,
        )
    return grid


def _storage(facility: Facility) -> RenderableType | None:
    if not facility.storage:
        return None
    grid = table("Element", "Total", "Place", "Looked at", "Message", right=("Total",))
    for element in facility.storage:
        row(
            grid,
            StorageLines([element]),
            size(element.total) if element.HasField("total") else "",
            element.path,
            moment(element.look_time),
            element.message,
        )
    return grid


def _checks(facility: Facility) -> RenderableType | None:
    if not facility.checks:
        return None
    grid = table("Check", "Answer", "Looked at", "Message")
    for check in facility.checks:
        bad = text("fails", "bold red" if check.vital else "yellow")
        good = text("ok", "green")
        name = f"{check.check} (vital)" if check.vital else check.check
        row(grid, name, good if check.ok else bad, moment(check.look_time), check.message)
    return grid


def _load(facility: Facility) -> RenderableType | None:
    if not facility.load:
        return None
    right = ("Placed", "Running", "Held", "Finished")
    grid = table("Groups of", *right, right=right)
    for load in facility.load:
        numbers = (load.placed, load.running, load.held, load.finished)
        row(grid, short_name(load.step), *(number or "" for number in numbers))
    return grid
