"""Why, events and logs."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import FacilityType, NameType
from ..options import json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cmd_api.v1.event_pb2 import Event

    from cm_client import Client, Name

any_name = NameType("campaign", "step", "group", "job")


@click.command()
@click.argument("name", type=any_name)
@click.option(
    "--without",
    multiple=True,
    type=FacilityType(),
    metavar="FACILITY",
    help="Of a group: where would it go if this facility were down? May be repeated.",
)
@json_option
@pass_caller
def why(caller: Caller, name: Name, without: tuple[str, ...], as_json: bool) -> None:
    """Explain an entity: its state, what it waits for, what you can do."""
    if without and name.level != "group":
        raise click.UsageError("only groups are placed: --without takes CAMPAIGN/STEP/GROUP")
    with caller.connect() as client:
        answer = client.explain_entity(name.full, without=without)
    from ..show.console import console
    from ..show.document import print_message
    from ..show.history import explanation

    if as_json:
        print_message(answer)
    else:
        console().print(explanation(answer, without))


@click.command()
@click.argument("name", type=any_name, required=False)
@click.option("--follow", is_flag=True, help="Go on with new events until Ctrl-C.")
@click.option(
    "--limit", default=50, type=click.IntRange(min=0), help="How many of the last; 0 for all."
)
@click.option("--newest", is_flag=True, help="Newest first.")
@click.option("--kind", "kinds", multiple=True, help="campaign, step, group, job or facility.")
@json_option
@pass_caller
def events(
    caller: Caller,
    name: Name | None,
    follow: bool,
    limit: int,
    newest: bool,
    kinds: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the last events of an entity and of what is below it; of all without NAME."""
    if follow and newest:
        raise click.UsageError("--follow goes forward in time: leave --newest out")
    parent = name.full if name else ""
    with caller.connect() as client:
        if follow:
            _follow_events(client, parent, limit, kinds, as_json)
            return
        found = _last_events(client, parent, limit, kinds)
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.history import event_table

    if not newest:
        found.reverse()
    if as_json:
        print_messages(found)
    else:
        console().print(event_table(found))


def _last_events(client: Client, parent: str, limit: int, kinds: tuple[str, ...]) -> list[Event]:
    """Newest first."""
    newest = client.events(
        parent, newest_first=True, kinds=kinds, page_size=min(limit or 1000, 1000)
    )
    return list(islice(newest, limit or None))


def _follow_events(
    client: Client, parent: str, limit: int, kinds: tuple[str, ...], as_json: bool
) -> None:
    from ..show.console import console
    from ..show.document import print_line
    from ..show.history import event_line

    out = console()

    def show(batch: Iterable[Event]) -> None:
        for event in batch:
            if as_json:
                print_line(event)
            else:
                out.print(event_line(event), soft_wrap=True)
        out.file.flush()

    def lost(error: Exception, wait: float) -> None:
        click.echo("Connection lost, trying again.", err=True)

    # The watch is begun before the list is read, so that no event falls between the two; the
    # first message is an event, a heartbeat, or the sign that nothing came for a second.
    batches = client.watch_events(parent, kinds=kinds, idle=1.0, on_lost=lost)
    first = next(batches)
    past = _last_events(client, parent, limit, kinds)[::-1]
    show(past)
    last = past[-1].seq if past else 0
    show(event for event in first.events if event.seq > last)
    for batch in batches:
        show(event for event in batch.events if event.seq > last)


@click.command()
@click.argument("name", type=NameType("group", "job"))
@click.option("--follow", is_flag=True, help="Go on until the attempt ends, or Ctrl-C.")
@click.option("--attempt", default=0, type=click.IntRange(min=0), help="Number of the attempt.")
@click.option("--part", default="", help="Which log; see --parts.")
@click.option("--tail", default=0, type=click.IntRange(min=0), help="Only so many last bytes.")
@click.option("--parts", "list_parts", is_flag=True, help="List the parts of the attempt.")
@click.option("--raw", is_flag=True, help="Control characters too, even on a terminal.")
@json_option
@pass_caller
def logs(
    caller: Caller,
    name: Name,
    follow: bool,
    attempt: int,
    part: str,
    tail: int,
    list_parts: bool,
    raw: bool,
    as_json: bool,
) -> None:
    """Print the log of a job; of a group, that of the job it is at."""
    with caller.connect() as client:
        job = _job_of(client, name)
        if list_parts:
            _show_parts(client, job, attempt, as_json)
            return
        messages = client.read_log(job, attempt=attempt, part=part, offset=-tail, follow=follow)
        if as_json:
            from ..show.document import print_line, print_messages

            if follow:
                for message in messages:
                    print_line(message)
            else:
                print_messages(messages)
            return
        from cm_client.words import log_text

        plain = raw or not sys.stdout.isatty()
        decoder = log_text()
        for message in messages:
            data = message.data if plain else decoder(message.data).encode()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def _job_of(client: Client, name: Name) -> str:
    """The job itself, or the last job of a group that has begun. Raises click.UsageError."""
    if name.level == "job":
        return name.full
    jobs = list(client.jobs(name.full))
    begun = [job for job in jobs if job.attempt]
    if not begun:
        raise click.UsageError(
            f"no job of {name.short} has begun, so there is no log; see: cm why {name.short}"
        )
    # Chaining collections says nothing worth reading; the work before it does.
    talking = [job for job in begun if job.kind != "collect"]
    return (talking or begun)[-1].name


def _show_parts(client: Client, job: str, attempt: int, as_json: bool) -> None:
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.entities import part_table

    parts = client.list_parts(job, attempt=attempt).parts
    if as_json:
        print_messages(parts)
    else:
        console().print(part_table(parts))


COMMANDS = (why, events, logs)
