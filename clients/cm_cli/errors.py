"""The daemon's errors as paragraphs for people, and the exit code of each.

| code | meaning |
|---|---|
| 0 | done |
| 1 | the daemon refused or failed |
| 2 | wrong use, or a campaign file with problems |
| 3, 4, 5 | `cm watch`: the campaign FAILED, was CANCELLED, or waits for a person |
| 6 | no daemon answers |
| 130 | Ctrl-C |
"""

from __future__ import annotations

from typing import IO, Any

import click

from cm_client import (
    CmError,
    DaemonUnavailable,
    DeadlineExceeded,
    EtagMismatch,
    HistoryGone,
    InvalidArgument,
    InvalidCampaignFile,
    LimitReached,
    NotAccepting,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    SocketForbidden,
    StateRefused,
)

from .show.text import clean, problem_line

REFUSED = 1
WRONG_USE = 2
UNREACHABLE = 6

_ADVICE: tuple[tuple[type[CmError], str], ...] = (
    (NotFound, "See what there is with: cm list"),
    (StateRefused, "What it waits for and what can be done: cm why NAME"),
    (EtagMismatch, "Someone changed it in between: look again with cm show NAME, then repeat."),
    (NotAccepting, "What is wrong with it: cm daemon"),
    (NotAuthenticated, ""),
    (PermissionDenied, "Who you are to the daemon, and what you may do: cm whoami"),
    (LimitReached, "Fewer at a time: end a cm watch, cm top or cm logs --follow of yours."),
    (HistoryGone, "Start again from now on, without the resume token."),
    (SocketForbidden, "Ask for a place in that group, then log in again."),
    (
        DaemonUnavailable,
        "Is cmd-daemon running? Another address: --address unix:/path/cmd.sock, or CM_ADDRESS.",
    ),
    (DeadlineExceeded, "See what became of it with cm status, or wait longer with --timeout."),
)


class Refusal(click.ClickException):
    """An error of the daemon, ready to be shown."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        """One paragraph on stderr."""
        click.echo(self.message, file=file, err=file is None)


def refusal(error: CmError) -> Refusal:
    """What to show for an error, and the exit code it ends `cm` with."""
    if isinstance(error, InvalidCampaignFile):
        lines = [problem_line(problem) for problem in error.problems]
        return Refusal("\n".join(lines or [clean(error.message)]), WRONG_USE)
    return Refusal(paragraph(error), _exit_code(error))


def paragraph(error: CmError) -> str:
    """What happened and what to do next."""
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
    return "\n".join(filter(None, (clean(error.message, lines=True), advice)))


def _exit_code(error: CmError) -> int:
    if isinstance(error, InvalidArgument):
        return WRONG_USE
    if isinstance(error, DaemonUnavailable | DeadlineExceeded):
        return UNREACHABLE
    return REFUSED
