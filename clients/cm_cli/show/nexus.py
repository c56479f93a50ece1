"""The nexus log: counts for each movement and way, and the gaps with their reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cmd_api.v1.step_pb2 import Nexus, NexusEntry
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from cm_client import is_sum, parse_name, short_name

from .console import row, state_text, table, text
from .text import counted, moment, size


def nexus(log: Nexus, most_gaps: int) -> RenderableType:
    """The log of a step or a group; at most so many gaps, 0 for all that are known."""
    name = short_name(log.name)
    if not log.entries:
        return text(f"{name}: nothing has been moved.")
    whole = [entry for entry in log.entries if is_sum(entry)] or list(log.entries)
    told = max(entry.tell_time.ToMicroseconds() for entry in whole)
    newest = next(e.tell_time for e in whole if e.tell_time.ToMicroseconds() == told)
    head = Text.assemble(text(name, "bold"), text(f"  as told at {moment(newest)}", "bright_black"))
    parts: list[RenderableType] = [head]
    moved = [entry for entry in whole if entry.movement != "purge"]
    purged = [entry for entry in whole if entry.movement == "purge"]
    if moved:
        parts.append(_counts(moved))
    if purged:
        parts += ["", _purged(purged)] if moved else [_purged(purged)]
    gaps = [entry for entry in log.entries if entry.gap_count and not is_sum(entry)]
    missing = sum(entry.gap_count for entry in whole)
    if missing:
        parts += ["", text(f"{counted(missing, 'gap')}:", "bold yellow")]
        parts += list(_gaps(gaps, missing, most_gaps))
    return Stack(*parts)


def _way(entry: NexusEntry) -> str:
    return f"{short_name(entry.source)} -> {short_name(entry.destination)}"


def _counts(entries: Sequence[NexusEntry]) -> RenderableType:
    sums = ("Groups",) if any(is_sum(entry) for entry in entries) else ()
    left_out = ("Not for it",) if any(entry.not_for_here for entry in entries) else ()
    stages = _stages(entries)
    numbers = (*sums, *stages, "Ingested", *left_out, "Gaps", "Bytes")
    grid = table("Movement", "Way", "Type", *numbers, right=numbers)
    grid.padding = (0, 1, 0, 0)  # ten columns and more have to stand side by side
    for column in (grid.columns[0], *grid.columns[3:]):
        column.no_wrap = True
    for entry in entries:
        cells: list[object] = [entry.groups] if sums else []
        cells += [getattr(entry, field) for field in stages.values()]
        cells.append(_ingested(entry))
        cells += [entry.not_for_here or ""] if left_out else []
        gaps = text(entry.gap_count, "bold red") if entry.gap_count else ""
        way = _way(entry)
        row(grid, entry.movement, way, entry.dataset_type, *cells, gaps, size(entry.bytes))
    return grid


def _stages(entries: Sequence[NexusEntry]) -> Mapping[str, str]:
    """The columns on the way to the ingest, by heading, and their fields: Rucio's own where it moves
    something, and what was sent unless that is what was registered."""
    stages = {"Made": "made"}
    rucio = any(entry.registered or entry.rule_ok for entry in entries)
    if rucio:
        stages |= {"Regis-\ntered": "registered", "Rule\nOK": "rule_ok"}
    if not rucio or any(entry.sent != entry.registered for entry in entries):
        stages["Sent"] = "sent"
    return {**stages, "Arrived": "arrived"}


def _purged(entries: Sequence[NexusEntry]) -> RenderableType:
    sums = ("Groups",) if any(is_sum(entry) for entry in entries) else ()
    numbers = (*sums, "Datasets", "Bytes")
    grid = table("Purged at", "Type", *numbers, right=numbers)
    for entry in entries:
        cells = [entry.groups] if sums else []
        where = short_name(entry.source)
        row(grid, where, entry.dataset_type, *cells, entry.purged, size(entry.bytes))
    return grid


def _ingested(entry: NexusEntry) -> Text:
    whole = entry.ingested and entry.ingested + entry.not_for_here >= entry.made
    return text(entry.ingested, "green" if whole else "")


def _gaps(entries: Iterable[NexusEntry], missing: int, most: int) -> Iterable[RenderableType]:
    """A heading for each group and way, and its gaps below it."""
    listed = 0
    for entry in entries:
        left = most - listed if most else len(entry.gaps)
        if left <= 0:
            break
        group = parse_name(entry.group).short
        job = entry.job.rpartition("/")[2]
        yield Text.assemble(
            text(group, "bold"),
            text(f"  {entry.movement} {_way(entry)} {entry.dataset_type}, {job} "),
            state_text(entry.job_state),
        )
        grid = table("  Data id", "UUID", "Reason")
        shown = entry.gaps[:left]
        for gap in shown:
            row(grid, text("  ").append_text(text(gap.data_id)), gap.uuid, gap.reason)
        if shown:
            yield grid
        listed += len(shown)
    if missing > listed:
        yield text(f"… and {missing - listed} more gaps", "bright_black")
