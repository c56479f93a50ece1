"""Names on the command line: their short form, the levels a command takes, and completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

    from cm_client import Name

_FORMS = {
    "campaign": "CAMPAIGN",
    "step": "CAMPAIGN/STEP",
    "group": "CAMPAIGN/STEP/GROUP",
    "job": "CAMPAIGN/STEP/GROUP/JOB",
}


class NameType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A name of one of the given levels; converted to a `cm_client.Name`."""

    name = "name"

    def __init__(self, *levels: str) -> None:
        self.levels = levels

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Name:
        """Raises click.BadParameter for another shape or level."""
        from cm_client import Name, parse_name

        if isinstance(value, Name):
            return value
        try:
            name = parse_name(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        if name.level not in self.levels:
            forms = " or ".join(_FORMS[level] for level in self.levels)
            self.fail(f"{value!r} names a {name.level}; this takes {forms}", param, ctx)
        return name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names of the level that is being typed; none if the daemon does not answer at once."""
        above, _, _ = incomplete.rpartition("/")
        return _completions(ctx, incomplete, lambda cm: _below(cm, above))


class FacilityType(click.ParamType):  # type: ignore[type-arg]
    """The name of a facility, short or full; converted to facilities/{facility}."""

    name = "facility"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises click.BadParameter for what cannot be one."""
        from cm_client import facility_name

        try:
            return facility_name(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The facilities there are; none if the daemon does not answer at once."""
        return _completions(
            ctx, incomplete, lambda cm: [each.name for each in cm.list_facilities().facilities]
        )


class ScheduleType(click.ParamType):  # type: ignore[type-arg]
    """The name of a schedule, short or full; converted to schedules/{schedule}."""

    name = "schedule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises click.BadParameter for what cannot be one."""
        from cm_client import schedule_name

        try:
            return schedule_name(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The schedules there are; none if the daemon does not answer at once."""
        return _completions(
            ctx, incomplete, lambda cm: [each.name for each in cm.list_schedules().schedules]
        )


def _completions(
    ctx: click.Context, incomplete: str, ask: Callable[[Any], list[str]]
) -> list[CompletionItem]:
    """Short names that the daemon tells and that begin as typed."""
    from cm_client import Backoff, Client, CmError, short_name

    caller = ctx.find_root().params
    try:
        client = Client(caller.get("address"), deadline=1.0, backoff=Backoff(tries=1))
        with client as cm:
            names = [short_name(name) for name in ask(cm)]
    except (CmError, ValueError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _below(cm: Any, above: str) -> list[str]:
    from cm_client import parse_name

    if not above:
        return [campaign.name for campaign in cm.list_campaigns(page_size=1000).campaigns]
    name = parse_name(above)
    if name.level == "campaign":
        return [step.name for step in cm.list_steps(name.full).steps]
    if name.level == "step":
        return [group.name for group in cm.list_groups(name.full, page_size=200).groups]
    return [job.name for job in cm.list_jobs(name.full, page_size=200).jobs]


def states_of(kind: _EnumTypeWrapper[Any], words: tuple[str, ...]) -> list[Any]:
    """State numbers of `Group.State` and the like for words such as HELD, in any case.

    Raises click.UsageError, which lists the words there are.
    """
    known = [key.removeprefix("STATE_") for key in kind.keys()[1:]]
    for word in words:
        if word.upper() not in known:
            raise click.UsageError(f"{word!r} is not a state; there are {', '.join(known)}")
    return [kind.Value(f"STATE_{word.upper()}") for word in words]
