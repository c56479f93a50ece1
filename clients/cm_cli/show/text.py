"""Single values as text for people: the words of all clients, and what only a terminal needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cm_client.words import (
    FINAL,
    between,
    clean,
    clock,
    counted,
    duration,
    moment,
    progress_text,
    quanta_text,
    size,
    state_word,
)

if TYPE_CHECKING:
    from cmd_api.v1.campaign_pb2 import Problem

__all__ = [
    "FINAL",
    "STYLES",
    "between",
    "clean",
    "clock",
    "counted",
    "duration",
    "moment",
    "problem_line",
    "progress_text",
    "quanta_text",
    "size",
    "state_word",
]

STYLES = {
    "ACCEPTED": "green",
    "ACTIVE": "green",
    "LAUNCHED": "green",
    "SUCCEEDED": "green",
    "RUNNING": "blue",
    "SUBMITTING": "blue",
    "PLACED": "cyan",
    "PREPARING": "cyan",
    "READY": "cyan",
    "REVIEW": "bold yellow",
    "HELD": "bold yellow",
    "UNCERTAIN": "bold yellow",
    "PAUSED": "yellow",
    "PAUSING": "yellow",
    "RESUMING": "yellow",
    "FAILED": "bold red",
    "REFUSED": "bold red",
    "SKIPPED": "yellow",
    "QUEUED": "cyan",
    "REJECTED": "red",
    "CANCELLED": "magenta",
    "CANCELLING": "magenta",
    "WAITING": "bright_black",
    "DRAFT": "bright_black",
    "ARCHIVED": "bright_black",
}
"""Colour of each state's name."""


def problem_line(problem: Problem) -> str:
    """file:line:col: field: message (hint)."""
    place = clean(problem.file) or "campaign file"
    if problem.line:
        place += f":{problem.line}:{problem.column}"
    field = f" {clean(problem.field)}:" if problem.field else ""
    hint = f" ({clean(problem.hint)})" if problem.hint else ""
    return f"{place}:{field} {clean(problem.message)}{hint}"
