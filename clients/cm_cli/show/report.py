"""A campaign's report on a terminal: the summary of what the page has."""

from __future__ import annotations

from cmd_api.v1.statistics_pb2 import GroupStory
from rich.console import Group as Stack
from rich.console import RenderableType

from cm_client import short_name
from cm_report import figures as f
from cm_report.reading import Report

from .bars import StateBar, counts_text
from .console import facts, row, state_text, table, text
from .status import campaign_head
from .text import duration, size

FEW = 5
REASON = 160
LOOKS = {"done": "green", "bad": "red", "": ""}


def summary(report: Report, former: Report | None) -> RenderableType:
    """All of `cm report`."""
    of = f.sums(report)
    parts: list[RenderableType] = [
        campaign_head(report.campaign),
        counts_text(of.whole.groups),
        "",
        _figures(report) if former is None else _differences(report, former),
        "",
        _steps(report, of),
    ]
    losses, causes = report.costs.losses, report.causes.causes
    if losses:
        parts += ["", text(f"Losses and what waits ({report.costs.losses_total})", "bold")]
        parts.append(_losses(list(losses[:FEW])))
    if causes:
        parts += ["", text(f"Failures by cause ({report.causes.total})", "bold")]
        grid = table("Failures", "What was said", "Facilities", right=("Failures",))
        for cause in causes[:FEW]:
            where = ", ".join(f"{name} {n}" for name, n in sorted(cause.facilities.items()))
            row(grid, cause.count, (cause.pattern or "no message")[:REASON], where)
        parts.append(grid)
    if report.costs.slowest:
        parts += ["", text("Slowest groups", "bold"), _slowest(list(report.costs.slowest[:FEW]))]
    if report.ways:
        parts += ["", text("Data moved", "bold")]
        grid = table("From", "To", "Arrived", "Gaps", "Bytes", right=("Arrived", "Gaps", "Bytes"))
        for way in report.ways:
            ends = (f.part(way.source), f.part(way.destination))
            row(grid, *ends, way.arrived, way.gap_count or "", size(way.bytes))
        parts.append(grid)
    return Stack(*parts)


def _figures(report: Report) -> RenderableType:
    return facts([(each.name, f.shown(each.kind, each.value)) for each in f.figures(report)])


def _differences(report: Report, former: Report) -> RenderableType:
    names = (short_name(report.campaign.name), short_name(former.campaign.name))
    columns = ("This", "Former", "Difference")
    grid = table("", *columns, right=columns, title=f"{names[0]} against {names[1]}")
    for each in f.differences(report, former):
        row(
            grid,
            each.figure.name,
            f.shown(each.figure.kind, each.figure.value),
            f.shown(each.former.kind, each.former.value),
            text(f.change_text(each), LOOKS[each.look]),
        )
    for name, now, then in f.step_times(report, former):
        row(grid, f"time of step {name}", duration(now), duration(then), f.time_change(now, then))
    return grid


def _steps(report: Report, of: f.Sums) -> RenderableType:
    numbers = ("Time", "Failed", "Retries", "Core-h", "…failed", "Moved")
    grid = table("Step", "Groups", *numbers, right=numbers)
    for step in f.begun(report.steps, of):
        line = of.steps[step.name]
        took = duration(f.elapsed(step, report.at))
        row(
            grid,
            text(f.part(step.name), "bold"),
            StateBar(line.groups, most=16),
            took,
            *_costs(line),
        )
        for (name, facility), each in sorted(of.places.items()):
            if name == step.name:
                where = text(f"  {f.part(facility) or 'not placed'}")
                row(grid, where, sum(each.groups.values()), "", *_costs(each))
    return grid


def _costs(line: f.Line) -> tuple[str, ...]:
    return (
        f"{line.failed}/{line.attempts}",
        f"{line.retries or ''}",
        f.hours(line.core_seconds) if line.core_seconds else "",
        f.hours(line.failed_core_seconds) if line.failed_core_seconds else "",
        size(line.bytes) if line.bytes else "",
    )


def _losses(groups: list[GroupStory]) -> RenderableType:
    grid = table("Group", "State", "Quanta", "Why")
    for each in groups:
        quanta = f"{each.quanta_succeeded}/{each.quanta_expected}" if each.quanta_expected else ""
        name = short_name(each.group).partition("/")[2]
        row(grid, name, state_text(each.state), quanta, each.reason[:REASON])
    return grid


def _slowest(groups: list[GroupStory]) -> RenderableType:
    grid = table("Group", "Time", "Facility", "State", "Attempts", right=("Time", "Attempts"))
    for each in groups:
        name = short_name(each.group).partition("/")[2]
        where = f.part(each.facility)
        row(grid, name, duration(each.seconds), where, state_text(each.state), each.attempts)
    return grid
