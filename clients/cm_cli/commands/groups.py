"""What a person decides about groups and steps: retry, accept, reject, hold, release, sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from ..caller import Caller, pass_caller
from ..names import NameType, states_of
from ..options import confirm, json_option, reason_option, required_reason, yes_option

if TYPE_CHECKING:
    from cmd_api.v1.group_pb2 import Group
    from google.protobuf.message import Message
    from rich.console import RenderableType

    from cm_client import Client, Name

Done = TypeVar("Done", bound="Message")

names_argument = click.argument("names", nargs=-1, required=True, type=NameType("step", "group"))
state_option = click.option(
    "--state", default="", help="With CAMPAIGN/STEP: all its groups in this state."
)


def _chosen(client: Client, names: tuple[Name, ...], state: str, verb: str, yes: bool) -> list[str]:
    """Full names of what is meant: as named, and of each step all groups in the state."""
    from cmd_api.v1.group_pb2 import Group

    from ..show.text import counted

    chosen: dict[str, None] = {}
    for name in names:
        if name.level != "step":
            chosen[name.full] = None
            continue
        if not state:
            raise click.UsageError(
                f"{name.short} is a step: name its groups, or choose them with --state, "
                f"such as: cm {verb} {name.short} --state HELD"
            )
        found = [
            group.name
            for group in client.groups(name.full, states=states_of(Group.State, (state,)))
        ]
        if not found:
            click.echo(f"No group of {name.short} is {state.upper()}.", err=True)
            continue
        confirm(
            f"{verb.capitalize()} {counted(len(found), f'{state.upper()} group')} of {name.short}?",
            yes,
        )
        chosen.update(dict.fromkeys(found))
    return list(chosen)


def _groups(found: list[Group]) -> RenderableType:
    from ..show.entities import group_table

    return group_table(found)


def act_on_each(
    caller: Caller,
    names: tuple[Name, ...],
    state: str,
    verb: str,
    yes: bool,
    as_json: bool,
    one: Callable[[Client, str], Done],
    table: Callable[[list[Done]], RenderableType],
) -> int:
    """Do it to each one; a refusal of one does not keep the others from it. What was done is shown; the
    exit code."""
    from cm_client import CmError, DaemonUnavailable, short_name

    from ..errors import REFUSED, Refusal, refusal
    from ..show.console import console
    from ..show.document import print_messages

    done: list[Done] = []
    refused = 0
    lost: Refusal | None = None
    with caller.connect() as client:
        for group in _chosen(client, names, state, verb, yes):
            try:
                done.append(one(client, group))
            except DaemonUnavailable as error:
                lost = refusal(error)
                break
            except CmError as error:
                refused = max(refused, refusal(error).exit_code, REFUSED)
                click.echo(f"{short_name(group)}: {refusal(error).message}", err=True)
    if as_json:
        print_messages(done)
    elif done:
        console().print(table(done))
    if lost is not None:
        raise lost
    return refused


@click.command()
@names_argument
@click.option("--missing-only", is_flag=True, help="Only the quanta that did not succeed.")
@click.option("--from-start", is_flag=True, help="Ignore what former attempts made.")
@state_option
@reason_option
@yes_option
@json_option
@click.pass_context
def retry(
    ctx: click.Context,
    names: tuple[Name, ...],
    missing_only: bool,
    from_start: bool,
    state: str,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a new attempt of the current job of groups, with the same data."""
    if missing_only and from_start:
        raise click.UsageError("--missing-only and --from-start exclude each other")
    from cmd_api.v1 import group_pb2

    mode = group_pb2.RETRY_MODE_UNSPECIFIED
    if missing_only:
        mode = group_pb2.RETRY_MODE_MISSING_ONLY
    elif from_start:
        mode = group_pb2.RETRY_MODE_FROM_START

    def one(client: Client, group: str) -> Group:
        return client.retry_group(group, mode=mode, reason=reason)

    caller = ctx.ensure_object(Caller)
    ctx.exit(act_on_each(caller, names, state, "retry", yes, as_json, one, _groups))


def _verdict(verb: str, about: str, *, needs_reason: bool) -> click.Command:
    """The command of one decision about groups."""

    @click.command(verb, help=about)
    @names_argument
    @state_option
    @reason_option
    @yes_option
    @json_option
    @click.pass_context
    def command(
        ctx: click.Context,
        names: tuple[Name, ...],
        state: str,
        reason: str,
        yes: bool,
        as_json: bool,
    ) -> None:
        caller = ctx.ensure_object(Caller)
        why = required_reason(reason) if needs_reason else reason
        if verb == "release" and not state and all(name.level == "step" for name in names):
            _release_steps(caller, names, why, as_json)
            return

        def one(client: Client, group: str) -> Group:
            act = {
                "accept": client.accept_group,
                "reject": client.reject_group,
                "hold": client.hold_group,
                "release": client.release_group,
            }[verb]
            return act(group, reason=why)

        ctx.exit(act_on_each(caller, names, state, verb, yes, as_json, one, _groups))

    return command


def _release_steps(caller: Caller, names: tuple[Name, ...], reason: str, as_json: bool) -> None:
    from ..show.console import console
    from ..show.document import print_messages
    from ..show.status import step_table

    with caller.connect() as client:
        steps = [client.release_step(name.full, reason=reason) for name in names]
    if as_json:
        print_messages(steps)
    else:
        console().print(step_table(steps))


@click.command()
@click.argument("name", type=NameType("step"))
@reason_option
@json_option
@pass_caller
def sign(caller: Caller, name: Name, reason: str, as_json: bool) -> None:
    """Sign a breakpoint step: the steps after it may go on."""
    why = required_reason(reason)
    with caller.connect() as client:
        step = client.sign_step(name.full, reason=why)
    from ..show.console import console
    from ..show.document import print_message
    from ..show.entities import step_facts

    if as_json:
        print_message(step)
    else:
        console().print(step_facts(step))


COMMANDS = (
    retry,
    _verdict("accept", "Take groups with their losses.", needs_reason=True),
    _verdict("reject", "Leave groups out for good; the step goes on.", needs_reason=True),
    _verdict("hold", "Submit nothing more for groups until released.", needs_reason=False),
    _verdict(
        "release",
        "Take a hold of groups back; look uncertain jobs up again; try a held step again.",
        needs_reason=False,
    ),
    sign,
)
