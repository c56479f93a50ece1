"""The daemon itself, its plugins, and shell completion."""

from __future__ import annotations

import time

import click
from click.shell_completion import get_completion_class

from ..caller import Caller, pass_caller
from ..options import json_option


@click.command()
@json_option
@pass_caller
def daemon(caller: Caller, as_json: bool) -> None:
    """Show the daemon: version, health, how busy it is."""
    with caller.connect() as client:
        begun = time.monotonic()
        answer = client.get_daemon()
        took = time.monotonic() - begun
        address = client.address.target
    from ..show.console import console
    from ..show.document import print_message
    from ..show.entities import daemon_facts

    if as_json:
        print_message(answer)
    else:
        console().print(daemon_facts(answer, address, took))


@click.command()
@json_option
@pass_caller
def plugins(caller: Caller, as_json: bool) -> None:
    """List the plugins of the daemon and what each brings."""
    with caller.connect() as client:
        found = client.list_plugins().plugins
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.entities import plugin_table

    if as_json:
        print_messages(found)
    else:
        console().print(plugin_table(found))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a SHELL, such as: eval "$(cm completion bash)"."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, root.info_name or "cm", "_CM_COMPLETE").source())


COMMANDS = (daemon, plugins, completion)
