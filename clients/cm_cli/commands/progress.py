"""How far a campaign is: status at one moment, watch until its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import NameType
from ..options import json_option

if TYPE_CHECKING:
    from cm_client import Name


@click.command()
@click.argument("name", type=NameType("campaign"), required=False)
@json_option
@pass_caller
def status(caller: Caller, name: Name | None, as_json: bool) -> None:
    """Show how far a campaign is; without NAME, all that cm list shows."""
    from cm_client.needs import needs_of

    from ..scripts import finished_script
    from ..show import status as view
    from ..show.console import console
    from ..show.document import as_dict, print_document, print_messages

    with caller.connect() as client:
        if name is None:
            campaigns = [each for each in client.campaigns() if not finished_script(each)]
            if as_json:
                print_messages(campaigns)
            else:
                console().print(view.campaign_table(campaigns))
            return
        campaign = client.get_campaign(name.full)
        steps = client.list_steps(name.full).steps
        needs = needs_of(client, campaign, steps)
    if as_json:
        print_document(
            {
                **as_dict(campaign),
                "steps": [as_dict(step) for step in steps],
                "needs": [
                    {
                        "name": need.name,
                        "state": need.state,
                        "reason": need.reason,
                        "command": need.command,
                    }
                    for need in needs
                ],
            }
        )
    else:
        console().print(view.status(campaign, steps, needs))


@click.command()
@click.argument("name", type=NameType("campaign"))
@click.option("--exit-on-hold", is_flag=True, help="End with 5 when something waits for a person.")
@json_option
@click.pass_context
def watch(ctx: click.Context, name: Name, exit_on_hold: bool, as_json: bool) -> None:
    """Follow a campaign until its end. Ctrl-C ends the watching, never the campaign.

    Exit code: 0 ACCEPTED, 3 FAILED, 4 CANCELLED, 5 something waits (with --exit-on-hold).
    """
    with ctx.ensure_object(Caller).connect() as client:
        from ..show.console import console
        from ..show.watching import JsonView, LineView, LiveView, View
        from ..watch import follow

        out = console()
        view: View
        if as_json:
            view = JsonView()
        elif out.is_terminal and not out.is_dumb_terminal:
            view = LiveView(out)
        else:
            view = LineView(out)
        try:
            with view:
                code = follow(client, name, view, exit_on_hold=exit_on_hold)
        except KeyboardInterrupt:
            click.echo(
                f"\nThe campaign goes on without you. Watch it again with: cm watch {name.short}",
                err=True,
            )
            code = 130
    ctx.exit(code)


COMMANDS = (status, watch)
