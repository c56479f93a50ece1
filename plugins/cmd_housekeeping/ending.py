"""What the far side tells of an attempt, put in the kernel's words."""

from collections.abc import Mapping
from typing import Any

from cmd_daemon.hooks import Observation, Outcome, Part, Phase, Progress
from cmd_local.results import (
    Remains,
    log_parts,
    process_outcome,
    process_parts,
    progress_of,
    script_outcome,
)

Told = Mapping[str, Any]


def outcome_of(seen: Told, facility: str) -> Outcome:
    """The outcome of an attempt that is over."""
    remains = Remains(
        ending=seen["ending"],
        result=seen["result"],
        last=seen["last"],
        told=seen.get("told"),
        output_run=seen.get("output_run") or None,
        memory=int(seen.get("memory") or 0),
        walltime_s=float(seen.get("walltime_s") or 0.0),
        facility=facility,
    )
    return process_outcome(remains) if seen.get("kind") == "process" else script_outcome(remains)


def observation_of(key: str, seen: Told | None, facility: str) -> Observation:
    """How far an attempt is; `seen` is None where the far side told nothing of it."""
    stage = seen["stage"] if seen else "missing"
    if seen is None or stage == "missing":
        gone = f"there is no attempt directory for {key} at facility {facility}; was it removed?"
        return Observation(key, Phase.GONE, message=gone)
    if stage == "over":
        return Observation(key, Phase.DONE, outcome=outcome_of(seen, facility))
    if stage == "running":
        output = Progress(unit="bytes of output", bytes=int(seen.get("bytes") or 0))
        return Observation(key, Phase.RUNNING, progress=progress_of(seen.get("progress")) or output)
    return Observation(key, Phase.QUEUED)


def parts_of(told: Told) -> list[Part]:
    """The parts of an attempt: phases and tasks of a process job, and its logs with their place."""
    parts: list[Part] = []
    if told.get("kind") == "process":
        parts = process_parts(told.get("told"), bool(told["over"]))
    return [*parts, *log_parts(told["logs"], told["path"])][:1000]
