"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from .amounts import texts_by_name

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """--json: JSON on stdout instead of tables."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(
        command
    )


def reason_option(command: F) -> F:
    """--reason: recorded in the history."""
    return click.option("--reason", default="", help="Why; kept in the history.")(command)


def yes_option(command: F) -> F:
    """--yes: do not ask."""
    return click.option("--yes", is_flag=True, help="Do not ask for confirmation.")(command)


def on_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def required_reason(reason: str) -> str:
    """The reason; asked for on a terminal. Raises click.UsageError if there is none."""
    if not reason.strip() and on_terminal():
        reason = click.prompt("Reason", err=True)
    if not reason.strip():
        raise click.UsageError("a reason is needed: --reason TEXT")
    return reason


def confirm(question: str, yes: bool) -> None:
    """Ask a person. Raises click.UsageError where nobody can be asked, ClickException on no."""
    if yes:
        return
    if not on_terminal():
        raise click.UsageError(f"{question} Say so with --yes.")
    if not click.confirm(question, err=True):
        raise click.ClickException("Nothing was changed.")


def parameters_option(command: F) -> F:
    """--set NAME=VALUE, several times: the campaign file's parameters, as a dict."""

    return click.option(
        "--set",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        callback=texts_by_name,
        help="Value of a parameter of the file; may be repeated.",
    )(command)
