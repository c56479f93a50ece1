"""How an attempt ended and how far it is, read from its directory and put in the kernel's words."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import ErrorClass, Failure, Outcome, Part, Progress, QuantaCount
from cmd_local.attempts import read_json

TAIL_BYTES = 64 * 1024
TAIL_LINES = 20
MAX_FAILURES = 200
COUNTS = ("expected", "successful", "failed", "blocked", "unknown")


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, at most 64 KiB; empty if there is none."""
    try:
        with path.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - TAIL_BYTES))
            text = source.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]


def _size(value: float) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def _ending_message(ending: Mapping[str, Any], command: Mapping[str, Any]) -> str:
    """What put an end to the command from outside, in words; empty if nothing did."""
    reason = ending.get("killed_for")
    if reason == "memory":
        return (
            f"killed: it used {_size(ending.get('max_rss', 0))} of memory, "
            f"{_size(command.get('memory', 0))} were allowed"
        )
    if reason == "time":
        return f"killed: not done after the {command.get('walltime_s', 0):g} s it was allowed"
    if reason == "cancelled":
        return "cancelled"
    if reason == "terminated":
        return "ended from outside, together with its supervisor (is the machine going down?)"
    if reason == "vanished":
        return "the supervisor vanished (machine restart?); what was left of the job was ended"
    return ""


def outcome_of(path: Path, ending: Mapping[str, Any]) -> Outcome:
    """The outcome of an attempt that is over, from `exit.json` and what its command wrote."""
    order = read_json(path / "order.json") or {}
    command = read_json(path / "command.json") or {}
    if str(order.get("kind")) == "process":
        return _process_outcome(path, ending, order, command)
    return _script_outcome(path, ending, command)


def _facts(ending: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"max_rss": ending.get("max_rss"), "cpu_seconds": ending.get("cpu_seconds")}
    facts["killed_for"] = ending.get("killed_for")
    return {name: value for name, value in facts.items() if value is not None}


def _class_of(ending: Mapping[str, Any]) -> ErrorClass | None:
    outside = ending.get("killed_for") in ("vanished", "terminated")
    return ErrorClass.TRANSIENT if outside else None


def _script_outcome(path: Path, ending: Mapping[str, Any], command: Mapping[str, Any]) -> Outcome:
    code = ending.get("exit_code")
    ok = code == 0 and ending.get("killed_for") is None
    extra = _facts(ending)
    lines = tail(path / "log.txt")
    message = _ending_message(ending, command)
    if ok:
        for line in reversed(lines):
            if line.startswith("{") and (result := _object(line)) is not None:
                extra["result"] = result
                break
    elif not message:
        message = f"the script ended with exit code {code}" + _last_words(lines)
    return Outcome(
        ok=ok,
        message=message,
        exit_code=code,
        error_class=_class_of(ending),
        failures=() if ok else (Failure(message=message, exit=code),),
        started_at=ending.get("started_at"),
        finished_at=ending.get("finished_at"),
        extra=extra,
    )


def _object(line: str) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _last_words(lines: list[str]) -> str:
    return ("; its last lines: " + " | ".join(lines[-5:]))[:2000] if lines else ""


def _process_outcome(
    path: Path, ending: Mapping[str, Any], order: Mapping[str, Any], command: Mapping[str, Any]
) -> Outcome:
    """The runner's own word, believed only as far as its counts and its exit bear it out."""
    told = read_json(path / "outcome.json")
    code = ending.get("exit_code")
    extra = _facts(ending)
    message = _ending_message(ending, command)
    error_class = _class_of(ending)
    quanta: dict[str, QuantaCount] = {}
    failures: list[Failure] = []
    ok = False
    if told is None:
        if not message:
            message = f"the run ended with exit code {code} without telling its outcome"
        message += _last_words(tail(path / "log.txt"))
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
        failures = [Failure(message=message, exit=code)]
    return Outcome(
        ok=ok,
        message=message[:4000],
        exit_code=code,
        error_class=error_class,
        quanta=quanta,
        failures=tuple(failures),
        output_run=order.get("output_run") or None,
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


def progress_of(path: Path) -> Progress | None:
    """How far a process attempt is, from the runner's progress.json; None before there is one."""
    told = read_json(path / "progress.json")
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


def parts_of(path: Path, kind: str) -> list[Part]:
    """The parts of an attempt: phases and tasks of a process, and its logs."""
    over = (path / "exit.json").exists()
    parts: list[Part] = []
    told = read_json(path / "outcome.json") or read_json(path / "progress.json") or {}
    if kind == "process":
        parts += _phases(told, over)
        planned = {task: {"expected": n} for task, n in _map(told, "expected").items()}
        for task, counts in sorted((_map(told, "quanta") or planned).items()):
            count = _count(counts)
            numbers = {name: getattr(count, name) for name in COUNTS}
            parts.append(Part(task, "task", _task_state(count, over), numbers))
    for name in ("log.txt", "supervisor.log"):
        if (path / name).exists():
            size = (path / name).stat().st_size
            if size or name == "log.txt":
                parts.append(Part(name, "log", counts={"bytes": size}, log=True))
    return parts[:1000]


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
