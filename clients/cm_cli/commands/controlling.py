"""What is outside, commanded: pause and resume of campaigns and of single attempts, and tuning of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..amounts import MemoryType
from ..caller import Caller
from ..names import NameType
from ..options import json_option, reason_option, required_reason, yes_option
from .groups import act_on_each, state_option

if TYPE_CHECKING:
    from cmd_api.v1.job_pb2 import Job

    from cm_client import Client, Name


def _campaigns(
    caller: Caller, names: tuple[Name, ...], verb: str, reason: str, as_json: bool
) -> None:
    with caller.connect() as client:
        act = client.pause_campaign if verb == "pause" else client.resume_campaign
        found = [act(name.full, reason=reason) for name in names]
    from ..show.console import console
    from ..show.document import print_message, print_messages
    from ..show.status import campaign_head

    if not as_json:
        for campaign in found:
            console().print(campaign_head(campaign))
    elif len(found) == 1:
        print_message(found[0])
    else:
        print_messages(found)


def _attempts(
    ctx: click.Context,
    names: tuple[Name, ...],
    state: str,
    verb: str,
    yes: bool,
    as_json: bool,
    one: Callable[[Client, str], Job],
) -> None:
    def jobs(found: list[Any]) -> Any:
        from ..show.entities import job_table

        return job_table(found)

    ctx.exit(act_on_each(ctx.ensure_object(Caller), names, state, verb, yes, as_json, one, jobs))


def _standing(verb: str, about: str) -> click.Command:
    """The command that pauses, or that resumes."""

    @click.command(verb, help=about)
    @click.argument(
        "names", nargs=-1, required=True, type=NameType("campaign", "step", "group", "job")
    )
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
        levels = {name.level == "campaign" for name in names}
        if len(levels) > 1:
            raise click.UsageError("campaigns and single groups or jobs need calls of their own")
        if levels == {True}:
            _campaigns(ctx.ensure_object(Caller), names, verb, reason, as_json)
            return

        def one(client: Client, name: str) -> Job:
            return client.control_job(name, paused=verb == "pause", reason=reason)

        _attempts(ctx, names, state, verb, yes, as_json, one)

    return command


@click.command()
@click.argument("names", nargs=-1, required=True, type=NameType("step", "group", "job"))
@click.option("--priority", type=int, help="A whole number; more is sooner.")
@click.option("--memory", type=MemoryType(), help="Memory from now on, such as 8GB.")
@click.option("--queue", help="Name of a queue in the outside system.")
@state_option
@reason_option
@yes_option
@json_option
@click.pass_context
def tune(
    ctx: click.Context,
    names: tuple[Name, ...],
    priority: int | None,
    memory: int | None,
    queue: str | None,
    state: str,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Give attempts that are outside another priority, memory or queue: of jobs, or those groups are at."""
    if priority is None and memory is None and queue is None:
        raise click.UsageError("say what to change: --priority, --memory or --queue")
    why = required_reason(reason)

    def one(client: Client, name: str) -> Job:
        return client.control_job(name, priority=priority, memory=memory, queue=queue, reason=why)

    _attempts(ctx, names, state, "tune", yes, as_json, one)


COMMANDS = (
    _standing(
        "pause",
        "Of campaigns: submit nothing new, and pause what is outside where that can be done. Of groups "
        "and jobs: pause the attempt that is outside.",
    ),
    _standing("resume", "Take a pause back."),
    tune,
)
