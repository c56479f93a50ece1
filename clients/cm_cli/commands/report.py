"""The report of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import NameType
from ..options import json_option

if TYPE_CHECKING:
    from cm_client import Name


@click.command()
@click.argument("name", type=NameType("campaign"))
@click.option(
    "--against",
    type=NameType("campaign"),
    metavar="CAMPAIGN",
    help="A former campaign to compare with.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write it as one page that needs nothing else.",
)
@json_option
@pass_caller
def report(
    caller: Caller, name: Name, against: Name | None, html: Path | None, as_json: bool
) -> None:
    """Report on a campaign, finished or running: losses, costs, failures, placement."""
    from cm_report.reading import read

    with caller.connect() as client:
        told = read(client, name.full)
        former = read(client, against.full) if against is not None else None
    if html is not None:
        _write(html, told, former)
    if as_json:
        from cm_report.document import document

        from ..show.document import print_document

        print_document(document(told, former))
    elif html is None:
        from ..show.console import console
        from ..show.report import summary

        console().print(summary(told, former))
    else:
        click.echo(f"The report of {name.short} is in {html}")


def _write(file: Path, told: object, former: object) -> None:
    """Raises ClickException if it cannot be made or written."""
    try:
        from cm_report.page import page
    except ModuleNotFoundError as missing:
        if missing.name not in ("jinja2", "markupsafe"):
            raise
        raise click.ClickException(
            f"Pages are not installed ({missing.name} is missing). "
            "Install them with: pip install 'cmd-daemon[web]'"
        ) from None
    try:
        file.write_text(page(told, former), encoding="utf-8")  # type: ignore[arg-type]
    except OSError as problem:
        raise click.ClickException(
            f"The report cannot be written to {file}: {problem.strerror or problem}"
        ) from None


COMMANDS = (report,)
