"""Groups, jobs, attempts and plugins as tables, and one entity with all it has."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.daemon_pb2 import Daemon, Plugin
from cmd_api.v1.group_pb2 import Group
from cmd_api.v1.job_pb2 import Attempt, Job, JobCommand, Part
from cmd_api.v1.step_pb2 import Step
from rich.console import Group as Stack
from rich.console import RenderableType

from cm_client import short_name

from .bars import counts_text
from .console import facts, row, state_text, table, text
from .text import between, clock, duration, moment, progress_text, quanta_text, size, state_word


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{key} {number}" for key, number in sorted(numbers.items()))


def group_table(groups: Iterable[Group]) -> RenderableType:
    """Groups, a line each."""
    grid = table("Group", "State", "Facility", "Job", "Quanta", "Reason")
    for group in groups:
        row(
            grid,
            short_name(group.name).partition("/")[2],
            state_text(state_word(group)),
            short_name(group.facility),
            f"{group.job_position}/{group.job_count}" if group.job_count else "",
            quanta_text(group.quanta),
            group.reason,
        )
    return grid


def job_table(jobs: Iterable[Job]) -> RenderableType:
    """Jobs, a line each."""
    grid = table("Job", "Kind", "State", "Facility", "Try", "Progress", "Reason", right=("Try",))
    for job in jobs:
        row(
            grid,
            short_name(job.name).partition("/")[2],
            job.kind,
            state_text(standing_word(job) or state_word(job)),
            short_name(job.facility),
            job.attempt or "",
            progress_text(job.progress),
            job.reason,
        )
    return grid


def standing_word(job: Job) -> str:
    """PAUSED, PAUSING or RESUMING for an attempt outside that is so; else nothing."""
    if job.standing in (Job.STANDING_UNSPECIFIED, Job.STANDING_GOING):
        return ""
    try:
        return Job.Standing.Name(job.standing).removeprefix("STANDING_")
    except ValueError:  # a daemon newer than this client
        return str(job.standing)


def in_flight_text(campaign: Campaign) -> str:
    """12, or 12 (8 of them paused)."""
    paused = f" ({campaign.paused} of them paused)" if campaign.paused else ""
    return f"{campaign.in_flight}{paused}"


def campaign_facts(campaign: Campaign) -> RenderableType:
    """All about a campaign."""
    return facts(
        [
            ("campaign", short_name(campaign.name)),
            ("state", state_text(state_word(campaign))),
            ("reason", campaign.reason),
            ("owner", campaign.owner),
            ("ticket", campaign.ticket),
            ("file version", campaign.file_version),
            ("created", moment(campaign.create_time)),
            ("started", moment(campaign.start_time)),
            ("finished", moment(campaign.finish_time)),
            ("steps", counts_text(campaign.step_counts)),
            ("groups", counts_text(campaign.group_counts)),
            ("jobs", counts_text(campaign.job_counts)),
            ("quanta", quanta_text(campaign.quanta)),
            ("in flight", in_flight_text(campaign)),
            ("waits for a person", campaign.needs_person),
            ("etag", campaign.etag),
        ]
    )


def step_facts(step: Step) -> RenderableType:
    """All about a step."""
    return facts(
        [
            ("step", short_name(step.name)),
            ("state", state_text(state_word(step))),
            ("reason", step.reason),
            ("after", ", ".join(step.after)),
            ("optional", "yes" if step.optional else ""),
            ("breakpoint", step.breakpoint),
            ("signed by", step.signed_by),
            ("splitter", step.splitter),
            ("output", step.output),
            ("groups", counts_text(step.group_counts)),
            ("jobs", counts_text(step.job_counts)),
            ("quanta", quanta_text(step.quanta)),
            ("started", moment(step.start_time)),
            ("finished", moment(step.finish_time)),
            ("etag", step.etag),
        ]
    )


def group_facts(group: Group, jobs: Iterable[Job]) -> RenderableType:
    """All about a group, and its jobs."""
    about = facts(
        [
            ("group", short_name(group.name)),
            ("state", state_text(state_word(group))),
            ("reason", group.reason),
            ("facility", short_name(group.facility)),
            ("moved by hand to", short_name(group.pinned)),
            ("region", group.region),
            ("where", group.where),
            ("size", group.size or ""),
            ("quanta", quanta_text(group.quanta)),
            ("created", moment(group.create_time)),
            ("started", moment(group.start_time)),
            ("finished", moment(group.finish_time)),
            ("etag", group.etag),
        ]
    )
    return Stack(about, "", job_table(jobs))


def job_facts(job: Job, attempts: Iterable[Attempt]) -> RenderableType:
    """All about a job, and its attempts with their tasks and failures."""
    about = facts(
        [
            ("job", short_name(job.name)),
            ("kind", job.kind),
            ("state", state_text(state_word(job))),
            ("reason", job.reason),
            ("facility", short_name(job.facility)),
            ("driver", job.driver),
            ("outside name", job.ref),
            ("outside", state_text(standing_word(job))),
            ("paused by", "a person" if job.pause_wanted else ""),
            ("commands", "; ".join(map(_command, job.commands))),
            ("progress", progress_text(job.progress)),
            ("tried again at", moment(job.due_time)),
            ("etag", job.etag),
        ]
    )
    return Stack(about, *(part for attempt in attempts for part in ("", _attempt(attempt))))


def _command(command: JobCommand) -> str:
    amount = size(int(command.value)) if command.command == "memory" else command.value
    until = command.give_up_time
    waits = f" until {clock(until)}" if until.seconds else ", in its turn"
    told = f" ({command.message})" if command.message else ""
    return f"{command.command} {amount}".rstrip() + waits + told


def _attempt(attempt: Attempt) -> RenderableType:
    parts: list[RenderableType] = [
        facts(
            [
                (f"attempt {attempt.number}", state_text(attempt.state)),
                ("mode", attempt.mode),
                ("started", moment(attempt.start_time)),
                ("took", between(attempt.start_time, attempt.finish_time)),
                ("exit code", attempt.exit_code if attempt.HasField("exit_code") else ""),
                ("error", attempt.error_class),
                ("message", attempt.message),
                ("output run", attempt.output_run),
                ("memory", size(attempt.memory) if attempt.memory else ""),
            ]
        )
    ]
    if attempt.tasks:
        numbers = ("Expected", "Done", "Failed", "Blocked", "Unknown")
        grid = table("Task", *numbers, right=numbers)
        for task in attempt.tasks:
            row(
                grid,
                task.task,
                task.expected,
                task.successful,
                task.failed,
                task.blocked,
                task.unknown,
            )
        parts.append(grid)
    if attempt.failures:
        grid = table("Failed task", "Data id", "Exit", "Message", right=("Exit",))
        for failure in attempt.failures:
            exit_code = failure.exit_code if failure.HasField("exit_code") else ""
            row(grid, failure.task, failure.data_id, exit_code, failure.message)
        parts.append(grid)
    return Stack(*parts)


def part_table(parts: Iterable[Part]) -> RenderableType:
    """The parts of an attempt."""
    grid = table("Part", "Kind", "State", "Log", "Counts", "Message")
    for part in parts:
        row(
            grid,
            part.part,
            part.kind,
            state_text(part.state),
            "yes" if part.log else "",
            _counts(dict(part.counts)),
            part.message or part.link,
        )
    return grid


def plugin_table(plugins: Iterable[Plugin]) -> RenderableType:
    """Loaded plugins."""
    grid = table("Plugin", "Version", "API", "Distribution", "Brings")
    for plugin in plugins:
        row(
            grid,
            plugin.plugin,
            plugin.version,
            plugin.api_version,
            plugin.distribution,
            ", ".join(plugin.brings),
        )
    return grid


def daemon_facts(daemon: Daemon, address: str, answer: float) -> RenderableType:
    """The daemon, where it is, and how long it took to answer (seconds)."""
    accepting = text("yes", "green") if daemon.accepting else text("no", "bold red")
    return facts(
        [
            ("address", address),
            ("version", daemon.version),
            ("started", moment(daemon.start_time)),
            ("up", duration_since(daemon)),
            ("role", "stand-by" if daemon.standby else "leader"),
            ("takes changes", accepting),
            ("problem", daemon.problem),
            ("database", daemon.database),
            ("newest event", daemon.last_seq),
            ("events to commit", daemon.pending_events),
            ("open groups", daemon.open_groups),
            ("open jobs", daemon.open_jobs),
            ("watchers", daemon.watchers),
            ("answered in", f"{answer * 1000:.0f} ms" if answer < 1 else duration(answer)),
        ]
    )


def duration_since(daemon: Daemon) -> str:
    """How long the daemon has been running."""
    return between(daemon.start_time, type(daemon.start_time)())
