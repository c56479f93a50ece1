"""How an attempt of a script ended, put in the kernel's words."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cmd_daemon.hooks import ErrorClass, Failure, Outcome

MAX_WORDS = 2000


def _size(value: float) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def ended_from_outside(ending: Mapping[str, Any], facility: str) -> str:
    """What put an end to the script, in words; empty if nothing did."""
    reason = ending.get("killed_for")
    if reason == "memory":
        used = _size(ending.get("max_rss") or 0)
        return f"killed at {facility}: it used {used} of memory, more than it was allowed"
    if reason == "time":
        return f"killed at {facility}: not done after the time it was allowed"
    if reason == "cancelled":
        return "cancelled"
    if reason == "terminated":
        return f"ended from outside, with its supervisor (is the machine at {facility} going down?)"
    if reason == "vanished":
        return (
            f"its supervisor at {facility} vanished (machine restart?); what was left of the "
            "script was ended"
        )
    return ""


def outcome_of(
    ending: Mapping[str, Any],
    result: Mapping[str, Any] | None,
    last: Sequence[str],
    facility: str,
    extra: Mapping[str, Any] | None = None,
) -> Outcome:
    """The outcome of an attempt that is over: from its `ending` (exit_code, killed_for, times in
    microseconds UTC), its JSON result line and its last words."""
    code = ending.get("exit_code")
    killed_for = ending.get("killed_for")
    ok = code == 0 and killed_for is None
    facts = {name: ending.get(name) for name in ("max_rss", "cpu_seconds", "killed_for")}
    told = {name: value for name, value in {**facts, **(extra or {})}.items() if value is not None}
    message = ended_from_outside(ending, facility)
    if ok:
        if result is not None:
            told["result"] = dict(result)
    elif not message:
        message = str(ending.get("error") or f"the script ended with exit code {code}")
        if last and not ending.get("error"):
            message += "; its last lines: " + " | ".join(last)
    outside = killed_for in ("vanished", "terminated")
    return Outcome(
        ok=ok,
        message=message[:MAX_WORDS],
        exit_code=code,
        error_class=ErrorClass.TRANSIENT if outside else None,
        failures=() if ok else (Failure(message=message[:MAX_WORDS], exit=code),),
        started_at=ending.get("started_at"),
        finished_at=ending.get("finished_at"),
        extra=told,
    )


def result_and_last_words(text: str) -> tuple[dict[str, Any] | None, list[str]]:
    """(the last line that is a JSON object, the last five lines) of a log's tail."""
    lines = [line for line in text.splitlines() if line.strip()]
    result = None
    for line in reversed(lines[-20:]):
        if line.startswith("{"):
            try:
                document = json.loads(line)
            except ValueError:
                continue
            if isinstance(document, dict):
                result = document
                break
    return result, [line[:400] for line in lines[-5:]]
