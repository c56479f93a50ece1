"""Facilities: list, drain, undrain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..options import json_option, reason_option

if TYPE_CHECKING:
    from cmd_api.v1.facility_pb2 import Facility


def _full(facility: str) -> str:
    from cm_client import facility_name

    try:
        return facility_name(facility)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


def _show(facilities: list[Facility]) -> None:
    from ..show.console import console
    from ..show.entities import facility_table

    console().print(facility_table(facilities))


@click.command()
@json_option
@pass_caller
def facilities(caller: Caller, as_json: bool) -> None:
    """List the facilities and how their drivers are."""
    with caller.connect() as client:
        found = list(client.list_facilities().facilities)
    from ..show.document import print_messages

    if as_json:
        print_messages(found)
    else:
        _show(found)


def _switch(verb: str, about: str) -> click.Command:
    @click.command(verb, help=about)
    @click.argument("facility")
    @reason_option
    @json_option
    @pass_caller
    def command(caller: Caller, facility: str, reason: str, as_json: bool) -> None:
        with caller.connect() as client:
            act = client.drain_facility if verb == "drain" else client.undrain_facility
            answer = act(_full(facility), reason=reason)
        from ..show.document import print_message

        if as_json:
            print_message(answer)
        else:
            _show([answer])

    return command


COMMANDS = (
    facilities,
    _switch("drain", "Send no new work to a FACILITY; what runs goes on."),
    _switch("undrain", "Take the drain of a FACILITY back."),
)
