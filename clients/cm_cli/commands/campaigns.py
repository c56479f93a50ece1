"""Campaigns: the file (plan, apply, schema) and the life (start … archive, list)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import NameType, states_of
from ..options import (
    confirm,
    json_option,
    on_terminal,
    parameters_option,
    reason_option,
    yes_option,
)

if TYPE_CHECKING:
    from cmd_api.v1.campaign_pb2 import PlanCampaignResponse, Problem

    from cm_client import Client, Name

FEW_GROUPS = 5
ALL_GROUPS = 1_000_000

file_argument = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, readable=True)
)


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    return Path(file).read_bytes()


def _warn(warnings: list[Problem]) -> None:
    from ..show.text import problem_line

    for warning in warnings:
        click.echo(f"warning: {problem_line(warning)}", err=True)


def _plan(
    client: Client, file: str, parameters: dict[str, str], max_groups: int
) -> PlanCampaignResponse:
    return client.plan_campaign(
        _read(file), file=file, parameters=parameters, max_groups=max_groups
    )


def _show_plan(answer: PlanCampaignResponse, as_json: bool) -> None:
    from ..show.console import console
    from ..show.document import print_message
    from ..show.plan import plan_tree

    if as_json:
        print_message(answer)
        return
    _warn(list(answer.warnings))
    console().print(plan_tree(answer))


@click.command()
@file_argument
@parameters_option
@click.option("--all", "show_all", is_flag=True, help="List every group.")
@json_option
@pass_caller
def plan(
    caller: Caller, file: str, parameters: dict[str, str], show_all: bool, as_json: bool
) -> None:
    """Show what a campaign FILE would make. Changes nothing."""
    with caller.connect() as client:
        most = ALL_GROUPS if show_all else FEW_GROUPS
        _show_plan(_plan(client, file, parameters, most), as_json)


@click.command()
@file_argument
@parameters_option
@click.option("--start", is_flag=True, help="Start it in the same commit.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--etag", default="", help="Refuse unless the stored campaign has this etag.")
@reason_option
@json_option
@pass_caller
def apply(
    caller: Caller,
    file: str,
    parameters: dict[str, str],
    start: bool,
    dry_run: bool,
    etag: str,
    reason: str,
    as_json: bool,
) -> None:
    """Store a campaign FILE: a new campaign, or a new version of one."""
    with caller.connect() as client:
        if dry_run:
            _show_plan(_plan(client, file, parameters, FEW_GROUPS), as_json)
            click.echo("Nothing was changed.", err=True)
            return
        answer = client.apply_campaign(
            _read(file), file=file, parameters=parameters, start=start, reason=reason, etag=etag
        )
    from cm_client import short_name

    from ..show.console import console, text
    from ..show.document import print_message
    from ..show.plan import change_table
    from ..show.text import state_word

    if as_json:
        print_message(answer)
        return
    _warn(list(answer.warnings))
    campaign = answer.campaign
    name, state = short_name(campaign.name), state_word(campaign)
    if answer.created:
        done = f"Campaign {name} is made ({state})."
    elif answer.changes:
        done = f"Campaign {name} has version {campaign.file_version} of its file now ({state})."
    else:
        done = f"Campaign {name} has this file already ({state})."
    out = console()
    out.print(text(done))
    if answer.changes:
        out.print(change_table(answer.changes))
    following = f"cm start {name}" if state == "DRAFT" else f"cm watch {name}"
    out.print(text(f"Next: {following}"))


@click.command()
@json_option
@pass_caller
def schema(caller: Caller, as_json: bool) -> None:
    """Print the JSON Schema of the campaign file."""
    with caller.connect() as client:
        click.echo(client.get_campaign_schema().schema)


@click.command("list")
@click.option("--state", "states", multiple=True, help="Only in this state; may be repeated.")
@click.option("--owner", default="", help="Only of this owner.")
@click.option("--archived", is_flag=True, help="Archived ones too.")
@click.option("--all", "everything", is_flag=True, help="Archived ones and finished scripts too.")
@json_option
@pass_caller
def list_(
    caller: Caller,
    states: tuple[str, ...],
    owner: str,
    archived: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """List the campaigns, but those of scripts on demand that have finished."""
    with caller.connect() as client:
        from cmd_api.v1.campaign_pb2 import Campaign

        from ..scripts import finished_script

        found = [
            campaign
            for campaign in client.campaigns(
                states=states_of(Campaign.State, states),
                owner=owner,
                show_archived=archived or everything,
            )
            if everything or not finished_script(campaign)
        ]
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.status import campaign_table

    if as_json:
        print_messages(found)
    else:
        console().print(campaign_table(found))


def _life(verb: str, about: str, *, dangerous: bool = False) -> click.Command:
    """The command of one verb of a campaign's life."""

    @click.command(verb, help=about)
    @click.argument("name", type=NameType("campaign"))
    @reason_option
    @yes_option
    @json_option
    @pass_caller
    def command(caller: Caller, name: Name, reason: str, yes: bool, as_json: bool) -> None:
        if dangerous and on_terminal():
            confirm(f"{verb.capitalize()} campaign {name.short} and its outside work?", yes)
        with caller.connect() as client:
            act = {
                "start": client.start_campaign,
                "cancel": client.cancel_campaign,
                "archive": client.archive_campaign,
            }[verb]
            campaign = act(name.full, reason=reason)
        from ..show.console import console
        from ..show.document import print_message
        from ..show.status import campaign_head

        if as_json:
            print_message(campaign)
        else:
            console().print(campaign_head(campaign))

    return command


COMMANDS = (
    plan,
    apply,
    schema,
    list_,
    _life("start", "Start a campaign that is in DRAFT."),
    _life("cancel", "Cancel a campaign and its outside work.", dangerous=True),
    _life("archive", "Put a final campaign away."),
)
