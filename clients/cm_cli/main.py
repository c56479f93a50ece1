"""The entry point of `cm`.

Only click and the commands' own small modules are imported here; gRPC and the tables come when a
command needs them, so that help and completion are there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from .caller import Caller
from .commands import (
    access,
    campaigns,
    controlling,
    daemon,
    entities,
    facilities,
    failing,
    groups,
    history,
    moving,
    progress,
    report,
    schedules,
    scripts,
    top,
    web,
)

INTERRUPTED = 130

EPILOG = """\b
Names: CAMPAIGN[/STEP[/GROUP[/JOB]]], such as DRP1/coadd/9813.

\b
Exit codes:
  0    done
  1    the daemon refused or failed
  2    wrong use, or a campaign file with problems
  3    cm watch: the campaign FAILED
  4    cm watch: the campaign was CANCELLED
  5    cm watch --exit-on-hold: something waits for a person
  6    no daemon answers
  130  Ctrl-C (it never harms a campaign)
  cm run-script ends with the exit code of the script
"""


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(
    name="cm",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)
@click.option(
    "--address",
    metavar="TARGET",
    help="The daemon's address: unix:/run/cmd-daemon/cmd.sock or host:port [env: CM_ADDRESS]",
)
@click.option("--actor", metavar="NAME", help="Who you are [env: CM_ACTOR; else your login name]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest wait for an answer [10; 120 for plan and apply]",
)
@click.option("--ca", type=_FILE, help="Authorities of the daemon's certificate [env: CM_CA]")
@click.option("--certificate", type=_FILE, help="Your certificate [env: CM_CERTIFICATE]")
@click.option("--key", type=_FILE, help="The key of your certificate [env: CM_KEY]")
@click.option(
    "--token-file", type=_FILE, help="File with a token [env: CM_TOKEN_FILE; else that of cm login]"
)
@click.version_option(package_name="cmd-daemon", prog_name="cm")
@click.pass_context
def cli(
    ctx: click.Context,
    address: str | None,
    actor: str | None,
    timeout: float | None,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
) -> None:
    """Manage data-processing campaigns of the Rubin Observatory."""
    ctx.obj = Caller(address, actor, timeout, ca, certificate, key, token_file)


_FAMILIES = (
    campaigns,
    progress,
    history,
    entities,
    failing,
    report,
    groups,
    controlling,
    moving,
    facilities,
    schedules,
    scripts,
    daemon,
    access,
    top,
    web,
)
for _family in _FAMILIES:
    for _command in _family.COMMANDS:
        cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `cm`; its exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its errors come as exceptions; no log lines
    try:
        result = cli.main(args=arguments, prog_name="cm", standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except click.Abort:
        click.echo("Ended. What was begun in the daemon goes on.", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
