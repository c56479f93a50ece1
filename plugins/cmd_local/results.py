"""How an attempt ended and how far it is, put in the kernel's words.

Everything is told by documents, not by places, so that an attempt of another machine is judged by
the same rules as one of this machine.
"""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import ErrorClass, Failure, Outcome, Part, Progress, QuantaCount
from cmd_local.attempts import read_json

TAIL_BYTES = 64 * 1024
TAIL_LINES = 20
LAST_LINES = 5
MAX_WORDS = 2000
MAX_FAILURES = 200
COUNTS = ("expected", "successful", "failed", "blocked", "unknown")
SHORT_OF = {errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.ETXTBSY, errno.EIO}
"""Errors at the start of a command that say nothing about the command."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What an attempt that is over left behind.

    `ending` is the content of exit.json, `result` the last line of its log that is a JSON object,
    `last` the log's last lines, `told` the content of the runner's outcome.json (process jobs).
    `memory` (bytes) and `walltime_s` are what it was allowed, 0 where nobody knows. `facility` is
    named in messages where it is not the daemon's own machine.
    """

    ending: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    last: Sequence[str] = ()
    told: Mapping[str, Any] | None = None
    output_run: str | None = None
    memory: int = 0
    walltime_s: float = 0.0
    facility: str = ""


def result_and_last_words(text: str) -> tuple[dict[str, Any] | None, list[str]]:
    """(the last line that is a JSON object, the last lines) of a log's tail."""
    lines = [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]
    result = None
    for line in reversed(lines):
        if line.startswith("{") and (result := _object(line)) is not None:
            break
    return result, [line[:400] for line in lines[-LAST_LINES:]]


def _object(line: str) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _tail(path: Path) -> str:
    """The end of a log, at most 64 KiB; empty if there is none."""
    try:
        with path.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - TAIL_BYTES))
            return source.read().decode(errors="replace")
    except OSError:
        return ""


def outcome_of(path: Path, ending: Mapping[str, Any]) -> Outcome:
    """The outcome of an attempt of this machine that is over, from its directory."""
    order = read_json(path / "order.json") or {}
    result, last = result_and_last_words(_tail(path / "log.txt"))
    process = str(order.get("kind")) == "process"
    remains = Remains(
        ending,
        result,
        last,
        told=read_json(path / "outcome.json") if process else None,
        output_run=order.get("output_run") or None,
        memory=int(order.get("memory") or 0),
        walltime_s=float(order.get("walltime_s") or 0.0),
    )
    return process_outcome(remains) if process else script_outcome(remains)


def _size(value: float) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def _put_an_end(remains: Remains) -> str:
    """What put an end to the command from outside, in words; empty if nothing did."""
    reason = remains.ending.get("killed_for")
    at = f" at {remains.facility}" if remains.facility else ""
    if reason == "memory":
        allowed = f"{_size(remains.memory)} were" if remains.memory else "more than was"
        used = _size(remains.ending.get("max_rss") or 0)
        return f"killed{at}: it used {used} of memory, {allowed} allowed"
    if reason == "time":
        limit = f"{remains.walltime_s:g} s" if remains.walltime_s else "time"
        return f"killed{at}: not done after the {limit} it was allowed"
    if reason == "cancelled":
        return "cancelled"
    if reason == "terminated":
        return f"ended from outside{at}, with its supervisor (is the machine going down?)"
    if reason == "vanished":
        last = remains.ending.get("last_words")
        return (
            f"the supervisor{at} vanished (machine restart?); what was left of the job was ended"
        ) + (f"; it said last: {last}" if last else "")
    return ""


def _facts(ending: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: ending.get(name) for name in ("max_rss", "cpu_seconds", "killed_for")}
    return {name: value for name, value in facts.items() if value is not None}


def _class_of(ending: Mapping[str, Any]) -> ErrorClass | None:
    outside = ending.get("killed_for") in ("vanished", "terminated")
    return ErrorClass.TRANSIENT if outside or ending.get("errno") in SHORT_OF else None


def _last_words(last: Sequence[str]) -> str:
    return ("; its last lines: " + " | ".join(last))[:MAX_WORDS] if last else ""


def script_outcome(remains: Remains, extra: Mapping[str, Any] | None = None) -> Outcome:
    """The outcome of a script: good if it ended by itself with exit code 0. `extra` goes into the
    outcome's own."""
    ending = remains.ending
    code = ending.get("exit_code")
    ok = code == 0 and ending.get("killed_for") is None
    facts = _facts(ending) | {k: v for k, v in (extra or {}).items() if v is not None}
    message = _put_an_end(remains)
    if ok:
        if remains.result is not None:
            facts["result"] = dict(remains.result)
    elif not message:
        message = str(ending.get("error") or f"the script ended with exit code {code}")
        if not ending.get("error"):
            message += _last_words(remains.last)
    return Outcome(
        ok=ok,
        message=message[:MAX_WORDS],
        exit_code=code,
        error_class=_class_of(ending),
        failures=() if ok else (Failure(message=message[:MAX_WORDS], exit=code),),
        started_at=ending.get("started_at"),
        finished_at=ending.get("finished_at"),
        extra=facts,
    )


def process_outcome(remains: Remains) -> Outcome:
    """The outcome of a process job: the runner's own word, believed only as far as its counts and
    its exit bear it out."""
    told, ending = remains.told, remains.ending
    code = ending.get("exit_code")
    extra = _facts(ending)
    message = _put_an_end(remains)
    error_class = _class_of(ending)
    quanta: dict[str, QuantaCount] = {}
    failures: list[Failure] = []
    ok = False
    if told is None:
        if ending.get("error") and not message:
            # The runner never began, so that the same order would not begin again either.
            message = str(ending["error"])
            error_class = error_class or ErrorClass.PERMANENT
        else:
            if not message:
                message = f"the run ended with exit code {code} without telling its outcome"
            message += _last_words(remains.last)
    else:
        quanta = {str(task): _count(counts) for task, counts in _map(told, "quanta").items()}
        failures = [_failure(item) for item in _list(told, "failures")[:MAX_FAILURES]]
        extra.update(
            {name: told[name] for name in ("phase", "datasets", "graph", "seconds") if name in told}
        )
        ok = told.get("ok") is True and not message
        message = message or str(told.get("message") or "")
        if not ok and error_class is None and told.get("error_class"):
            error_class = _error_class(told["error_class"])
        if ok and code != 0:
            ok, message = False, f"the run says it went well but ended with exit code {code}"
        if ok:
            ok, message = _counts_agree(told, quanta, message)
    if not ok and not failures:
        failures = [Failure(message=message[:MAX_WORDS], exit=code)]
    return Outcome(
        ok=ok,
        message=message[: 2 * MAX_WORDS],
        exit_code=code,
        error_class=error_class,
        quanta=quanta,
        failures=tuple(failures),
        output_run=remains.output_run,
        started_at=ending.get("started_at"),
        finished_at=ending.get("finished_at"),
        extra=extra,
    )


def _counts_agree(
    told: Mapping[str, Any], quanta: Mapping[str, QuantaCount], message: str
) -> tuple[bool, str]:
    """A run is good only if every expected quantum succeeded and no fewer than its graph holds."""
    expected = sum(count.expected for count in quanta.values())
    successful = sum(count.successful for count in quanta.values())
    in_graph = _map(told, "graph").get("n_quanta")
    if any(count.expected != count.successful for count in quanta.values()) or not expected:
        return False, (f"the run says it went well but {successful} of {expected} quanta succeeded")
    if isinstance(in_graph, int) and in_graph > expected:
        return False, (
            f"the run says it went well but its report has {expected} quanta "
            f"and its graph {in_graph}"
        )
    return True, message


def _map(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    return value if isinstance(value, list) else []


def _count(counts: Any) -> QuantaCount:
    """The runner's counts of one task; quanta in a state that should not exist ('wonky') are
    unknown to us."""
    numbers = counts if isinstance(counts, dict) else {}
    known = {name: int(numbers.get(name) or 0) for name in COUNTS}
    known["unknown"] += int(numbers.get("wonky") or 0)
    return QuantaCount(**known)


def _failure(item: Any) -> Failure:
    fields = item if isinstance(item, dict) else {"message": str(item)}
    code = fields.get("exit")
    data_id = fields.get("data_id") or ""
    return Failure(
        task=str(fields.get("task") or ""),
        data_id=data_id if isinstance(data_id, str) else json.dumps(data_id, sort_keys=True),
        message=str(fields.get("message") or "")[:2000],
        exit=code if isinstance(code, int) else None,
    )


def _error_class(word: Any) -> ErrorClass | None:
    try:
        return ErrorClass(word)
    except ValueError:
        return None


def progress_of(told: Mapping[str, Any] | None) -> Progress | None:
    """How far a process attempt is, from the runner's progress.json; None before there is one."""
    if told is None:
        return None
    expected = _map(told, "expected")
    return Progress(
        done=_whole(told.get("done")),
        total=sum(_whole(number) for number in expected.values()),
        failed=_whole(told.get("failed")),
        note=str(told.get("phase") or ""),
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def process_parts(told: Mapping[str, Any] | None, over: bool) -> list[Part]:
    """The phases and tasks of a process attempt, from the runner's outcome.json or, before there is
    one, its progress.json."""
    told = told or {}
    parts = _phases(told, over)
    planned = {task: {"expected": n} for task, n in _map(told, "expected").items()}
    for task, counts in sorted((_map(told, "quanta") or planned).items()):
        count = _count(counts)
        numbers = {name: getattr(count, name) for name in COUNTS}
        parts.append(Part(task, "task", _task_state(count, over), numbers))
    return parts


def log_parts(sizes: Mapping[str, int], message: str = "") -> list[Part]:
    """The logs of an attempt by their sizes; an empty one is shown only if it is the main one."""
    return [
        Part(name, "log", counts={"bytes": size}, log=True, message=message)
        for name, size in sizes.items()
        if size or name == "log.txt"
    ]


def parts_of(path: Path, kind: str) -> list[Part]:
    """The parts of an attempt of this machine: phases and tasks of a process, and its logs."""
    parts: list[Part] = []
    if kind == "process":
        told = read_json(path / "outcome.json") or read_json(path / "progress.json")
        parts = process_parts(told, (path / "exit.json").exists())
    logs = [path / name for name in ("log.txt", "supervisor.log")]
    sizes = {log.name: log.stat().st_size for log in logs if log.exists()}
    return [*parts, *log_parts(sizes)][:1000]


def _phases(told: Mapping[str, Any], over: bool) -> list[Part]:
    names = ["graph", "run", "report"]
    current = str(told.get("phase") or "")
    seconds = _map(told, "seconds")
    if "ok" in told:
        at = names.index(current) if current in names and not told["ok"] else len(names)
    else:
        at = names.index(current) if current in names else 0
    parts = []
    for place, name in enumerate(names):
        state = "done" if place < at else "waiting"
        if place == at:
            state = "failed" if over else "running"
        took = seconds.get(name)
        note = f"{took:.1f} s" if isinstance(took, int | float) else ""
        parts.append(Part(name, "phase", state, message=note))
    return parts


def _task_state(count: QuantaCount, over: bool) -> str:
    if count.expected and count.expected == count.successful:
        return "done"
    return "failed" if over or count.failed else "running"
