"""Schedules: all at a glance, and one with its times."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1.schedule_pb2 import Schedule, ScheduleRun
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from cm_client import short_name

from .console import facts, row, state_text, table, text
from .text import moment, state_word


def _outcome(run: ScheduleRun) -> Text:
    return state_text(ScheduleRun.Outcome.Name(run.outcome).removeprefix("OUTCOME_"))


def schedule_table(schedules: Iterable[Schedule]) -> RenderableType:
    """A line for each schedule."""
    grid = table("Schedule", "State", "Next (UTC)", "Cron", "Zone", "Last", "Owner")
    for each in schedules:
        last: Text | str = ""
        if each.runs:
            last = _outcome(each.runs[0])
            last.append_text(text(f" {moment(each.runs[0].due_time)}", "bright_black"))
        following = moment(each.next_times[0]) if each.next_times else ""
        if each.HasField("queued_time"):
            following = f"{following} (one waits)"
        state = state_text(state_word(each))
        row(grid, short_name(each.name), state, following, each.cron, each.zone, last, each.owner)
    return grid


def schedule_facts(schedule: Schedule) -> RenderableType:
    """A schedule with its next times and its runs."""
    what = facts(
        [
            ("Schedule", short_name(schedule.name)),
            ("State", state_text(state_word(schedule))),
            ("Owner", schedule.owner),
            ("Times", f"{schedule.cron} ({schedule.zone})"),
            ("If the last still runs", schedule.overlap),
            ("Version", f"{schedule.version} by {schedule.actor}"),
            ("Why", schedule.reason),
            ("Next (UTC)", "\n".join(moment(each) for each in schedule.next_times)),
            ("Waits", moment(schedule.queued_time) if schedule.HasField("queued_time") else ""),
        ]
    )
    if not schedule.runs:
        return what
    grid = table("Time (UTC)", "Outcome", "Campaigns", "By", "Why")
    for run in schedule.runs:
        names = "\n".join(short_name(name) for name in run.campaigns)
        row(grid, moment(run.due_time), _outcome(run), names, run.actor, run.reason)
    return Stack(what, Text(), grid)
