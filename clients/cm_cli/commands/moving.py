"""Where groups run and how their data move: move, nexus, redrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import FacilityType, NameType
from ..options import confirm, json_option, reason_option, required_reason, yes_option

if TYPE_CHECKING:
    from cmd_api.v1.step_pb2 import Nexus

    from cm_client import Client, Name


@click.command()
@click.argument("name", type=NameType("group"))
@click.argument("facility", type=FacilityType())
@reason_option
@yes_option
@json_option
@pass_caller
def move(caller: Caller, name: Name, facility: str, reason: str, yes: bool, as_json: bool) -> None:
    """Place a group at another FACILITY by hand; its cost is shown first.

    A group that has begun begins anew there. Later groups of its region follow it.
    """
    from cm_client import short_name

    from ..show.console import console
    from ..show.document import print_message
    from ..show.placement import move_cost

    why = required_reason(reason)
    with caller.connect() as client:
        plan = client.move_group(name.full, facility, reason=why, validate_only=True)
        if not as_json:
            console().print(move_cost(plan, facility))
        confirm(f"Move {name.short} to {short_name(facility)}?", yes)
        answer = client.move_group(name.full, facility, reason=why, etag=plan.group.etag)
    if as_json:
        print_message(answer)
    else:
        click.echo(f"{name.short} is moved to {short_name(facility)}. Next: cm why {name.short}")


@click.command()
@click.argument("name", type=NameType("campaign", "step", "group"))
@click.option(
    "--gaps", default=20, type=click.IntRange(min=0), help="Gaps to list; 0 for all known. [20]"
)
@json_option
@pass_caller
def nexus(caller: Caller, name: Name, gaps: int, as_json: bool) -> None:
    """Show the nexus log: datasets made, sent, arrived and ingested, and every gap.

    Of a campaign, all steps that have moved something.
    """
    with caller.connect() as client:
        logs = _logs(client, name)
    from ..show.console import console
    from ..show.document import print_message, print_messages
    from ..show.nexus import nexus as view

    if as_json:
        if name.level == "campaign":
            print_messages(logs)
        else:
            print_message(logs[0])
        return
    out = console()
    if not logs:
        click.echo(f"{name.short}: nothing has been moved.")
    for number, log in enumerate(logs):
        if number:
            out.print()
        out.print(view(log, gaps))


def _logs(client: Client, name: Name) -> list[Nexus]:
    if name.level != "campaign":
        return [client.get_nexus(name.full)]
    steps = client.list_steps(name.full).steps
    return [log for log in (client.get_nexus(step.name) for step in steps) if log.entries]


@click.command()
@click.argument("name", type=NameType("step", "group"))
@reason_option
@json_option
@click.pass_context
def redrive(ctx: click.Context, name: Name, reason: str, as_json: bool) -> None:
    """Drive the gaps of a step or a group again, and nothing else.

    Retries the groups whose movement is HELD with gaps; of each group with gaps it says what was
    done, or why nothing can be. What has arrived is not moved again.
    """
    from cm_client.redriving import redrive as drive

    with ctx.ensure_object(Caller).connect() as client:
        found = drive(client, name, reason)
    from ..show.console import console, row, table
    from ..show.document import print_document

    if as_json:
        print_document([each.as_dict() for each in found])
    elif not found:
        click.echo(f"{name.short} has no gaps.")
    else:
        grid = table("Group", "Movement", "Gaps", "What was done", right=("Gaps",))
        for each in found:
            row(grid, each.group, each.movement, each.gaps, each.words)
        console().print(grid)
    ctx.exit(0 if all(each.done or not each.refused for each in found) else 1)


COMMANDS = (move, nexus, redrive)
