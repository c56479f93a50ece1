"""Scripts on demand at a facility."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from ..amounts import DurationType, texts_by_name
from ..caller import Caller
from ..names import FacilityType
from ..options import json_option, reason_option

if TYPE_CHECKING:
    from ..scripts import Ended

INTERRUPTED = 130


@click.command("run-script", context_settings={"ignore_unknown_options": True})
@click.argument("facility", type=FacilityType())
@click.argument("script", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--timeout", default="1h", type=DurationType(), help="The longest time it may run. [1h]"
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    callback=texts_by_name,
    help="An environment variable; may be repeated.",
)
@reason_option
@json_option
@click.pass_context
def run_script(
    ctx: click.Context,
    facility: str,
    script: str,
    args: tuple[str, ...],
    timeout: float,
    env: dict[str, str],
    reason: str,
    as_json: bool,
) -> None:
    """Run a SCRIPT at a FACILITY now, once, and follow its log.

    A local file travels with its text; any other name means one of the facility's own scripts. It
    ends with the script's exit code, or with 1 if the script never ran. It is a campaign of its own:
    Ctrl-C leaves it running. Arguments that look like options of cm come after --.
    """
    from ..scripts import GROUP, STEP, Follower, Order, campaign_file, put_away

    order = Order(script, args, env, timeout)
    with ctx.ensure_object(Caller).connect() as client:
        found = client.get_facility(facility)
        name, file = campaign_file(found, order, client.address.actor, time.time())
        client.apply_campaign(file, file=script, start=True, reason=reason)
        click.echo(f"Campaign {name} runs {script}.", err=True)
        try:
            ended = Follower(client, name, _Writer(as_json), _note).follow()
        except KeyboardInterrupt:
            click.echo(
                f"\nThe script goes on without you. Its log: cm logs {name}/{STEP}/{GROUP} --follow   "
                f"End it: cm cancel {name}",
                err=True,
            )
            ctx.exit(INTERRUPTED)
        if ended.state == "SUCCEEDED":
            put_away(client, name)
    _tell(ended, name, facility, as_json)
    ctx.exit(ended.code)


def _note(words: str) -> None:
    click.echo(words, err=True)


class _Writer:
    """Pieces of the log to stdout, or beside a JSON document to stderr; harmless on a terminal."""

    def __init__(self, as_json: bool) -> None:
        from cm_client.words import log_text

        self._stream = sys.stderr if as_json else sys.stdout
        self._clean = log_text() if self._stream.isatty() else None

    def __call__(self, data: bytes) -> None:
        self._stream.flush()
        self._stream.buffer.write(self._clean(data).encode() if self._clean else data)
        self._stream.buffer.flush()


def _tell(ended: Ended, name: str, facility: str, as_json: bool) -> None:
    from cm_client import short_name

    from ..show.document import print_document
    from ..show.text import clean

    if as_json:
        print_document(
            {
                "campaign": name,
                "facility": short_name(facility),
                "state": ended.state,
                "exit_code": ended.exit_code,
                "message": ended.message,
                "result": ended.result,
            }
        )
        return
    if ended.result is not None:
        print_document(ended.result)
    if ended.state != "SUCCEEDED":
        code = "" if ended.exit_code is None else f" with exit code {ended.exit_code}"
        never = " It never ran." if ended.exit_code is None else ""
        words = clean(ended.message)
        click.echo(
            f"The script is {ended.state}{code}: {words}{never} See: cm why {name}", err=True
        )


COMMANDS = (run_script,)
