"""Who you are to the daemon: login, whoami; and who called what: audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import click

from ..amounts import DurationType
from ..caller import Caller, pass_caller
from ..options import json_option

_OTHERS = ("facilities/", "schedules/")


@click.command()
@click.option("--issuer", default="", help="The issuer's URL; else the daemon says it.")
@click.option("--client-id", default="", help="Our name at the issuer; else the daemon says it.")
@click.option("--scope", default="", help="Scopes to ask for; else the daemon says them.")
@click.option("--audience", default="", help="What the token is for; else the daemon says it.")
@pass_caller
def login(caller: Caller, issuer: str, client_id: str, scope: str, audience: str) -> None:
    """Get a token from the daemon's issuer, with a browser on any machine.

    It is kept in a file that only you can read. Logging in again needs no browser for as long as
    the issuer allows.
    """
    try:
        from ..login import Issuer, LoginError
    except ModuleNotFoundError as missing:
        raise click.ClickException(
            f"Logging in needs the package {missing.name}: pip install 'cmd-daemon[oidc]'"
        ) from None
    from cm_client import kept_token

    if not (issuer and client_id):
        told = _asked_of_daemon(caller)
        issuer, client_id = issuer or told["issuer"], client_id or told["client_id"]
        scope, audience = scope or told["scope"], audience or told["audience"]
    if not (issuer and client_id):
        raise click.UsageError("the daemon names no client id: give --issuer and --client-id")
    file = caller.token_file or kept_token()
    try:
        with Issuer(issuer, client_id, scope or "openid", audience) as at:
            token = at.renewed(file) or at.by_device(file, lambda line: click.echo(line, err=True))
    except LoginError as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(f"Your token is in {file}" + (f", until {token.until}." if token.until else "."))


def _asked_of_daemon(caller: Caller) -> dict[str, str]:
    """What the daemon says a token is to be got with. Raises click.ClickException if it wants none."""
    from dataclasses import replace

    from cm_client import Client, CmError, NotAuthenticated

    from ..errors import refusal

    bare = replace(caller.credentials(), token="", token_file=None)
    try:
        with Client(caller.address, actor=caller.actor, credentials=bare) as client:
            known = client.get_caller()
    except NotAuthenticated as error:
        if error.reason == "NO_CREDENTIALS":
            words = ("issuer", "client_id", "scope", "audience")
            return {word: error.metadata.get(word, "") for word in words}
        raise refusal(error) from error
    except CmError as error:
        raise refusal(error) from error
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    raise click.ClickException(
        f"No login is needed here: the daemon knows you as {known.who} by the {known.proof}."
    )


@click.command()
@json_option
@pass_caller
def whoami(caller: Caller, as_json: bool) -> None:
    """Show who you are to the daemon, and what you may do."""
    with caller.connect() as client:
        answer = client.get_caller()
    from ..show.access import caller_facts
    from ..show.console import console
    from ..show.document import print_message

    if as_json:
        print_message(answer)
    else:
        console().print(caller_facts(answer))


@click.command()
@click.argument("name", default="")
@click.option("--who", default="", help="Only the calls of this caller.")
@click.option(
    "--since", type=DurationType(), metavar="AGO", help="Only the last so much, such as 2h or 3d."
)
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option(
    "--limit", default=50, type=click.IntRange(min=0), help="How many of the last; 0 for all."
)
@json_option
@pass_caller
def audit(
    caller: Caller,
    name: str,
    who: str,
    since: float | None,
    refused: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show who called what, the last first; of all without NAME.

    NAME is CAMPAIGN[/STEP[/GROUP[/JOB]]], facilities/FACILITY or schedules/SCHEDULE.
    """
    from google.protobuf.timestamp_pb2 import Timestamp

    from cm_client import parse_name

    try:
        full = name if name.startswith(_OTHERS) or not name else parse_name(name).full
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    start = None
    if since is not None:
        start = Timestamp()
        start.FromDatetime(datetime.now(UTC) - timedelta(seconds=since))
    with caller.connect() as client:
        calls = client.audit(
            full,
            who=who,
            start_time=start,
            refused=refused,
            page_size=min(limit or 1000, 1000),
        )
        found = list(islice(calls, limit or None))
    from ..show.access import audit_table
    from ..show.console import console
    from ..show.document import print_messages

    if as_json:
        print_messages(found)
    else:
        console().print(audit_table(found))


COMMANDS = (login, whoami, audit)
