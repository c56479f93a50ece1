"""A-REX's words for how far a job is, and what an ended job came to."""

import json
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import ErrorClass, Failure, Outcome, Phase
from cmd_housekeeping.arc_records import Record
from cmd_housekeeping.arex import Json, first
from cmd_housekeeping.xrsl import ENDING, LOG
from cmd_local.results import Remains, result_and_last_words, script_outcome

WAITING = frozenset(
    {"ACCEPTING", "ACCEPTED", "PREPARING", "PREPARED", "SUBMITTING", "QUEUING", "HELD"}
)
TAKING_INPUT = frozenset({"ACCEPTING", "ACCEPTED", "PREPARING"})
ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
TAIL = 64 * 1024


def phase_of(state: str) -> Phase:
    """How far a job in this state is. A state nobody knows is taken as running: the job is there,
    and it is looked at again."""
    if state in WAITING:
        return Phase.QUEUED
    if state in ENDED:
        return Phase.DONE
    return Phase.GONE if state == "WIPED" else Phase.RUNNING


def takes_input(state: str) -> bool:
    """Whether a job in this state may be waiting for its files."""
    return state in TAKING_INPUT


def activity_of(told: Any) -> Json | None:
    """The GLUE2 ComputingActivity in an answer to `info`, wherever it is put; None if missing."""
    if isinstance(told, list):
        found = (activity_of(item) for item in told)
        return next((item for item in found if item is not None), None)
    if not isinstance(told, dict):
        return None
    inside = told.get("ComputingActivity")
    if isinstance(inside, dict):
        return inside
    if isinstance(inside, list):
        return inside[0] if inside and isinstance(inside[0], dict) else None
    return activity_of([item for item in told.values() if isinstance(item, dict | list)])


def _tail(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as source:
        source.seek(max(0, file.stat().st_size - TAIL))
        return source.read().decode(errors="replace")


def _ending(file: Path) -> Json | None:
    try:
        document = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def verdict(state: str, told: Any, folder: Path, facility: str, record: Record) -> Outcome:
    """The outcome of an ended job: from `exit.json`, which our own program wrote, else from what
    the computing element says. A success needs both to agree."""
    activity = activity_of(told) or {}
    result, last = result_and_last_words(_tail(folder / LOG))
    ending = _ending(folder / ENDING)
    extra: Json = {"job": record.id, "state": state}
    if record.duplicates:
        extra["duplicates"] = list(record.duplicates)
    if state == "KILLED":
        who = "cancelled" if record.cancelled else f"killed by somebody else at {facility}"
        return _not_ok(who, ending, None if record.cancelled else ErrorClass.TRANSIENT, extra)
    error = "; ".join(str(each) for each in _texts(activity.get("Error")))
    if ending is not None and (state == "FINISHED" or ending.get("exit_code") != 0):
        return script_outcome(Remains(ending, result, last, facility=facility), extra)
    if ending is not None:
        words = f"the script ended well, but its job failed at {facility}: {error or state}"
        return _not_ok(words, ending, None, extra)
    code = first(activity.get("ExitCode"))
    said = f"the job ended at {facility} as {state} without a word of the script's end"
    words = f"{said}: {error}" if error else said
    exit_code = int(code) if code.lstrip("-").isdigit() else None
    # The element lost the job before the script's own end: nothing the script did.
    kind = ErrorClass.TRANSIENT if exit_code in (None, -1, 0) else None
    return _not_ok(words, {"exit_code": exit_code}, kind, extra)


def _texts(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value in (None, "") else [value]


def _not_ok(words: str, ending: Json | None, kind: ErrorClass | None, extra: Json) -> Outcome:
    known = ending or {}
    code = known.get("exit_code")
    return Outcome(
        ok=False,
        message=words[:2000],
        exit_code=code,
        error_class=kind,
        failures=(Failure(message=words[:2000], exit=code),),
        started_at=known.get("started_at"),
        finished_at=known.get("finished_at"),
        extra=extra,
    )
