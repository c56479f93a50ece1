"""Facilities: list, show, limits, drain and undrain, the kill switch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ..amounts import DurationType, MemoryType, numbers_by_name
from ..caller import Caller, pass_caller
from ..names import FacilityType
from ..options import json_option, on_terminal, reason_option, required_reason

if TYPE_CHECKING:
    from cmd_api.v1.facility_pb2 import Facility, FacilityLimits

    from cm_client import Client

LOOK_EVERY = 0.5
"""Seconds between two looks at a facility whose jobs are ending."""

facility_argument = click.argument("facility", type=FacilityType())


def _show(answer: Facility, as_json: bool, note: str = "") -> None:
    from ..show.console import console
    from ..show.document import print_message
    from ..show.facilities import facility_table

    if as_json:
        print_message(answer)
        return
    console().print(facility_table([answer]))
    if note:
        click.echo(note)


@click.command()
@json_option
@pass_caller
def facilities(caller: Caller, as_json: bool) -> None:
    """List the facilities: state, slots, storage, drivers."""
    with caller.connect() as client:
        found = list(client.list_facilities().facilities)
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.facilities import facility_table

    if as_json:
        print_messages(found)
    else:
        console().print(facility_table(found))


@click.command("facility")
@facility_argument
@json_option
@pass_caller
def facility_(caller: Caller, facility: str, as_json: bool) -> None:
    """Show one FACILITY: queues, storage, checks, limits, and the groups there."""
    with caller.connect() as client:
        answer = client.get_facility(facility)
    from ..show.console import console
    from ..show.document import print_message
    from ..show.facilities import facility_facts

    if as_json:
        print_message(answer)
    else:
        console().print(facility_facts(answer))


@click.command()
@facility_argument
@click.option("--slots", type=click.IntRange(min=0), help="Jobs at a time.")
@click.option("--memory", type=MemoryType(), help="The most one job may have, such as 8GB.")
@click.option("--cores", type=click.IntRange(min=1), help="The most one job may have.")
@click.option("--walltime", type=DurationType(), help="The most one job may have, such as 12h.")
@click.option(
    "--lane",
    "lanes",
    multiple=True,
    metavar="DRIVER=N",
    callback=numbers_by_name,
    help="Jobs at a time of one driver; may be repeated.",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="CLASS=N",
    callback=numbers_by_name,
    help="Jobs at a time of one memory class; may be repeated.",
)
@click.option("--reset", is_flag=True, help="First take all former edits back.")
@reason_option
@json_option
@pass_caller
def limits(
    caller: Caller,
    facility: str,
    slots: int | None,
    memory: int | None,
    cores: int | None,
    walltime: float | None,
    lanes: dict[str, int],
    queues: dict[str, int],
    reset: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Change limits of a FACILITY now. They outlive the daemon, until --reset."""
    given = (slots, memory, cores, walltime)
    if not reset and not lanes and not queues and all(value is None for value in given):
        raise click.UsageError("say what to change, such as --slots 20, or --reset")
    with caller.connect() as client:
        from cmd_api.v1.facility_pb2 import FacilityLimits

        wanted = FacilityLimits(
            slots=slots, memory=memory, cores=cores, walltime=walltime, lanes=lanes, queues=queues
        )
        answer = client.update_facility(facility, limits=wanted, reset=reset, reason=reason)
    _show(answer, as_json, _limits_note(answer.edited))


def _limits_note(edited: FacilityLimits) -> str:
    from ..show.facilities import limits_text

    words = limits_text(edited)
    return f"Edited by hand: {words}." if words else "All limits are those of the configuration."


def _switch(verb: str, about: str) -> click.Command:
    @click.command(verb, help=about)
    @facility_argument
    @reason_option
    @json_option
    @pass_caller
    def command(caller: Caller, facility: str, reason: str, as_json: bool) -> None:
        with caller.connect() as client:
            act = client.drain_facility if verb == "drain" else client.undrain_facility
            answer = act(facility, reason=reason)
        _show(answer, as_json)

    return command


@click.command()
@facility_argument
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask for the facility's name.")
@click.option("--no-wait", is_flag=True, help="Do not wait until its jobs have ended.")
@json_option
@pass_caller
def kill(
    caller: Caller, facility: str, reason: str, yes: bool, no_wait: bool, as_json: bool
) -> None:
    """The kill switch: cancel everything of ours at a FACILITY, now.

    It takes no new work until it is revived. Ctrl-C ends the waiting only.
    """
    why = required_reason(reason)
    _confirm_by_name(facility, yes)
    with caller.connect() as client:
        answer = client.kill_facility(facility, reason=why)
        if answer.ending and not no_wait:
            answer = _wait(client, answer)
    from cm_client import short_name

    name = short_name(facility)
    rest = f"{answer.ending} jobs are ending; see: cm facility {name}. " if answer.ending else ""
    _show(answer, as_json, f"{rest}Take it back with: cm revive {name} --retry")


def _confirm_by_name(facility: str, yes: bool) -> None:
    """A person has to type the name. Raises click.UsageError, ClickException."""
    from cm_client import short_name

    if yes:
        return
    name = short_name(facility)
    question = f"This cancels everything of ours that runs at {name}"
    if not on_terminal():
        raise click.UsageError(f"{question}. Say so with --yes.")
    if click.prompt(f"{question}. Type its name to go on", err=True, default="") != name:
        raise click.ClickException("Nothing was changed.")


def _wait(client: Client, answer: Facility) -> Facility:
    """Look at a facility until none of its jobs is ending; each new number is told."""
    from cm_client import CmError, connection_lost, short_name

    from ..show.text import counted

    name = short_name(answer.name)
    told = -1
    try:
        while answer.ending:
            if answer.ending != told:
                told = answer.ending
                click.echo(f"{name}: {counted(told, 'job')} to end …", err=True)
            time.sleep(LOOK_EVERY)
            try:
                answer = client.get_facility(answer.name)
            except CmError as error:
                if not connection_lost(error):
                    raise
                click.echo("Connection lost, trying again.", err=True)
    except KeyboardInterrupt:
        click.echo("\nThe kill goes on without you.", err=True)
    else:
        click.echo(f"{name}: nothing of ours runs there any more.", err=True)
    return answer


@click.command()
@facility_argument
@click.option("--retry", is_flag=True, help="Try the jobs that the kill ended again.")
@reason_option
@json_option
@pass_caller
def revive(caller: Caller, facility: str, retry: bool, reason: str, as_json: bool) -> None:
    """Take the kill of a FACILITY back."""
    with caller.connect() as client:
        answer = client.revive_facility(facility, reason=reason, retry=retry)
    _show(answer, as_json)


COMMANDS = (
    facilities,
    facility_,
    limits,
    _switch("drain", "Send no new work to a FACILITY; what runs goes on."),
    _switch("undrain", "Take the drain of a FACILITY back."),
    kill,
    revive,
)
