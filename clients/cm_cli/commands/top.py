"""Everything at a glance in a terminal."""

from __future__ import annotations

import contextlib

import click

from ..caller import Caller, pass_caller
from ..options import on_terminal


@click.command()
@click.option("--once", is_flag=True, help="Print it once and end, for scripts.")
@pass_caller
def top(caller: Caller, once: bool) -> None:
    """Follow all campaigns and facilities on one screen, until q."""
    from ..show.console import console

    out = console()
    follows = not once and on_terminal() and out.is_terminal and not out.is_dumb_terminal
    with caller.connect() as client:
        from ..show.top import Screen
        from ..show.top import top as picture
        from ..top import follow, look

        if not follows:
            out.print(picture(look(client), height=0))
            return
        with contextlib.suppress(KeyboardInterrupt):
            follow(client, Screen(out))


COMMANDS = (top,)
