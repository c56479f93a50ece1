"""What a BPS workflow that is over came to: its quanta as the facility counts them, its jobs as PanDA tells
of them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cmd_daemon.hooks import ErrorClass, Failure, Outcome
from cmd_local.results import Remains, process_outcome
from cmd_panda.bps.states import Planned, Verdict
from cmd_panda.endings import last_tries
from cmd_panda.errors import ErrorTable
from cmd_panda.inspecting import link_to, logs_of
from cmd_panda.records import JobRecord, TaskRecord
from cmd_panda.work import Place

MOST_JOBS = 200
MAX_WORDS = 2000
OUT_OF_MEMORY = frozenset({1212, 1223, 1235})
"""The pilot's codes for a payload that took too much memory."""

KILLED_FOR_MEMORY = 137
"""The exit code that the rules of campaigns know it by, at every facility."""


async def failed_jobs(
    place: Place, table: ErrorTable, plan: Sequence[Planned], seen: Mapping[str, TaskRecord]
) -> list[dict[str, Any]]:
    """The last tries of the jobs that failed, as the program at the facility takes them; at most 200.
    Raises PandaFault."""
    server = place.shared().server
    labels = {seen[each.name].id: each.label for each in plan if each.name in seen}
    wanted = [task for task in seen.values() if task.status != "done" and task.id in labels]
    told = await asyncio.gather(*(server.jobs(task.id, unsuccessful=True) for task in wanted))
    jobs = []
    for task, records in zip(wanted, told, strict=True):
        jobs += [
            _job(place, table, labels[task.id], each) for each in last_tries(records) if each.errors
        ]
    return jobs[:MOST_JOBS]


def _job(place: Place, table: ErrorTable, label: str, job: JobRecord) -> dict[str, Any]:
    verdict = table.judge(job.errors)
    memory = any(each.source == "pilot" and each.code in OUT_OF_MEMORY for each in job.errors)
    logs = logs_of(job)
    page = next(iter(logs.values()), "") or link_to(place, f"job?pandaid={job.id}")
    return {
        "label": label,
        "id": job.id,
        "queue": job.queue,
        "exit": KILLED_FOR_MEMORY if memory else job.exit_code,
        "message": verdict.words[:MAX_WORDS],
        "permanent": verdict.error_class is ErrorClass.PERMANENT,
        "link": page,
        "inputs": list(job.inputs),
    }


def finish_request(verdict: Verdict, jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the program at the facility is told of a workflow that is over, and keeps."""
    hopeless = bool(jobs) and all(job["permanent"] for job in jobs)
    error_class = verdict.error_class or (ErrorClass.PERMANENT if hopeless else None)
    return {
        "aggregate": verdict.aggregate,
        "why": verdict.why,
        "error_class": error_class.value if error_class else None,
        "jobs": list(jobs),
    }


def outcome_of(record: Mapping[str, Any], facility: str) -> Outcome:
    """The outcome of an attempt by what the program at the facility has kept of it: the same whenever
    it is asked."""
    told, finish = record.get("outcome") or {}, record.get("finish") or {}
    sent, ended = record.get("sending_at"), told.get("ended")
    outcome = process_outcome(
        Remains(
            {
                "exit_code": told.get("exit_code"),
                "started_at": round(sent * 1e6) if sent else None,
                "finished_at": round(ended * 1e6) if ended else None,
            },
            told=told,
            output_run=record.get("output_run"),
            facility=facility,
        )
    )
    extra = {**outcome.extra, "tasks": [each["name"] for each in record.get("tasks") or ()]}
    if record.get("request") is not None:
        extra["request"] = record["request"]
    outcome = replace(outcome, extra=extra)
    if outcome.ok:
        return outcome
    why = str(finish.get("why") or "")
    error_class = outcome.error_class
    if error_class is None and finish.get("error_class"):
        error_class = ErrorClass(finish["error_class"])
    message = "; ".join(each for each in (why, outcome.message) if each)[:MAX_WORDS]
    failures = outcome.failures or (Failure(message=message),)
    return replace(outcome, message=message, error_class=error_class, failures=failures)


def cancelled() -> Outcome:
    """The outcome of an attempt that was cancelled before anything was sent."""
    words = "cancelled before PanDA was asked for anything"
    return Outcome(False, message=words, failures=(Failure(message=words),))
