"""Schedules: apply, list, show, pause, resume, run, remove."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import ScheduleType
from ..options import confirm, json_option, reason_option, yes_option

if TYPE_CHECKING:
    from cmd_api.v1.schedule_pb2 import Schedule

    from cm_client import Client

schedule_argument = click.argument("schedule", type=ScheduleType())


def _show(answer: Schedule, as_json: bool) -> None:
    from ..show.console import console
    from ..show.document import print_message
    from ..show.schedules import schedule_facts

    if as_json:
        print_message(answer)
    else:
        console().print(schedule_facts(answer))


@click.command()
@json_option
@pass_caller
def schedules(caller: Caller, as_json: bool) -> None:
    """List the schedules: when each launches next, and what its last time came to."""
    with caller.connect() as client:
        found = list(client.list_schedules().schedules)
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.schedules import schedule_table

    if as_json:
        print_messages(found)
    elif found:
        console().print(schedule_table(found))
    else:
        click.echo("No schedules. Make one with: cm schedule apply FILE", err=True)


@click.group()
def schedule() -> None:
    """Launch campaigns at times of a calendar."""


@schedule.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only check; show what would be launched.")
@reason_option
@json_option
@pass_caller
def apply(caller: Caller, file: Path, dry_run: bool, reason: str, as_json: bool) -> None:
    """Store a schedule FILE and the template it names: a new one, or a new version."""
    text = file.read_text(encoding="utf-8")
    with caller.connect() as client:
        answer = client.apply_schedule(
            text, _template_of(file, text), file=str(file), reason=reason, dry_run=dry_run
        )
    from ..show.document import print_message

    if as_json:
        print_message(answer)
        return
    from cm_client import short_name

    names = ", ".join(short_name(name) for name in answer.campaigns)
    click.echo(f"Its next time {'would launch' if dry_run else 'launches'}: {names}")
    if dry_run:
        click.echo("Nothing was changed.", err=True)
    else:
        _show(answer.schedule, as_json=False)


def _template_of(file: Path, text: str) -> str:
    """The text of the template beside the schedule file. Raises click.ClickException if it names none
    that can be read; what else is wrong with the file is told by the daemon."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return ""
    name = document.get("template") if isinstance(document, dict) else None
    if not isinstance(name, str):
        return ""
    try:
        return (file.parent / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file}: template: {error}") from error


@schedule.command()
@schedule_argument
@click.option("--runs", default=0, type=click.IntRange(0, 1000), help="Runs to show [20].")
@json_option
@pass_caller
def show(caller: Caller, schedule: str, runs: int, as_json: bool) -> None:
    """Show a SCHEDULE: its next times and what the last ones came to."""
    with caller.connect() as client:
        answer = client.get_schedule(schedule, max_runs=runs)
    _show(answer, as_json)


def _command(
    verb: str, about: str, act: Callable[[Client, str, str], Schedule], asks: bool = False
) -> None:
    @schedule.command(verb, help=about)
    @schedule_argument
    @reason_option
    @yes_option
    @json_option
    @pass_caller
    def command(caller: Caller, schedule: str, reason: str, yes: bool, as_json: bool) -> None:
        if asks:
            confirm(f"{verb.capitalize()} {schedule}?", yes)
        with caller.connect() as client:
            answer = act(client, schedule, reason)
        _show(answer, as_json)


_command(
    "pause",
    "Launch nothing until the SCHEDULE is resumed.",
    lambda client, name, reason: client.pause_schedule(name, reason=reason),
)
_command(
    "resume",
    "Take a pause back.",
    lambda client, name, reason: client.resume_schedule(name, reason=reason),
)
_command(
    "run",
    "Launch the SCHEDULE once, now, whatever still runs.",
    lambda client, name, reason: client.run_schedule(name, reason=reason),
    asks=True,
)
_command(
    "remove",
    "Launch nothing any more; what was launched goes on.",
    lambda client, name, reason: client.remove_schedule(name, reason=reason),
    asks=True,
)

COMMANDS = (schedules, schedule)
