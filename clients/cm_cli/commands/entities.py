"""Look at entities: steps, groups, jobs, and one with all it has."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import NameType, states_of
from ..options import json_option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cm_client import Name

state_option = click.option(
    "--state", "states", multiple=True, help="Only in this state; may be repeated."
)
facility_option = click.option("--facility", default="", help="Only at this facility.")
limit_option = click.option(
    "--limit", default=1000, type=click.IntRange(min=0), help="Most to list; 0 for all."
)


def _note_cut(shown: int, limit: int) -> None:
    if limit and shown == limit:
        click.echo(f"The first {limit}; more with --limit.", err=True)


@click.command()
@click.argument("name", type=NameType("campaign"))
@json_option
@pass_caller
def steps(caller: Caller, name: Name, as_json: bool) -> None:
    """List the steps of a campaign."""
    with caller.connect() as client:
        found = client.list_steps(name.full).steps
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.status import step_table

    if as_json:
        print_messages(found)
    else:
        console().print(step_table(found))


@click.command()
@click.argument("name", type=NameType("campaign", "step"))
@state_option
@facility_option
@limit_option
@json_option
@pass_caller
def groups(
    caller: Caller, name: Name, states: tuple[str, ...], facility: str, limit: int, as_json: bool
) -> None:
    """List the groups of a campaign or a step."""
    with caller.connect() as client:
        from cmd_api.v1.group_pb2 import Group

        wanted = states_of(Group.State, states)
        everything = client.groups(
            name.full, states=wanted, facility=facility, page_size=min(limit or 1000, 1000)
        )
        found = list(islice(everything, limit or None))
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.entities import group_table

    if as_json:
        print_messages(found)
    else:
        console().print(group_table(found))
    _note_cut(len(found), limit)


@click.command()
@click.argument("name", type=NameType("campaign", "step", "group"))
@state_option
@facility_option
@click.option("--kind", default="", help="Only of this kind, such as process or transfer.")
@limit_option
@json_option
@pass_caller
def jobs(
    caller: Caller,
    name: Name,
    states: tuple[str, ...],
    facility: str,
    kind: str,
    limit: int,
    as_json: bool,
) -> None:
    """List the jobs of a campaign, a step or a group."""
    with caller.connect() as client:
        from cmd_api.v1.job_pb2 import Job

        everything = client.jobs(
            name.full,
            states=states_of(Job.State, states),
            facility=facility,
            kind=kind,
            page_size=min(limit or 1000, 1000),
        )
        found = list(islice(everything, limit or None))
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.entities import job_table

    if as_json:
        print_messages(found)
    else:
        console().print(job_table(found))
    _note_cut(len(found), limit)


@click.command()
@click.argument("name", type=NameType("campaign", "step", "group", "job"))
@click.option("--file", "show_file", is_flag=True, help="Of a campaign: its file as applied.")
@click.option("--version", default=0, help="With --file: which version; the newest if not given.")
@json_option
@pass_caller
def show(caller: Caller, name: Name, show_file: bool, version: int, as_json: bool) -> None:
    """Show one entity with all it has; of a job its attempts too."""
    from google.protobuf.message import Message

    if (show_file or version) and name.level != "campaign":
        raise click.UsageError("only a campaign has a file")
    entity: Message
    with caller.connect() as client:
        from ..show import entities
        from ..show.console import console
        from ..show.document import print_message
        from ..show.text import clean

        view: RenderableType
        if show_file or version:
            entity = stored = client.get_campaign_file(name.full, version=version)
            view = clean(stored.text, lines=True)
        elif name.level == "campaign":
            entity = campaign = client.get_campaign(name.full)
            view = entities.campaign_facts(campaign)
        elif name.level == "step":
            entity = step = client.get_step(name.full)
            view = entities.step_facts(step)
        elif name.level == "group":
            entity = group = client.get_group(name.full)
            view = entities.group_facts(group, () if as_json else client.jobs(name.full))
        else:
            entity = job = client.get_job(name.full)
            attempts = () if as_json else client.list_attempts(name.full).attempts
            view = entities.job_facts(job, attempts)
        if as_json:
            print_message(entity)
        else:
            console().print(view, soft_wrap=isinstance(view, str))


@click.command()
@click.argument("name", type=NameType("job"))
@json_option
@pass_caller
def attempts(caller: Caller, name: Name, as_json: bool) -> None:
    """Show the attempts of a job with their tasks and failures."""
    with caller.connect() as client:
        job = client.get_job(name.full)
        found = client.list_attempts(name.full).attempts
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.entities import job_facts

    if as_json:
        print_messages(found)
    else:
        console().print(job_facts(job, found))


COMMANDS = (steps, groups, jobs, show, attempts)
