"""From a task to its jobs, their errors and their logs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from cmd_daemon.hooks import DriverError, ErrorClass, LogChunk, Part
from cmd_panda.errors import ErrorTable
from cmd_panda.faults import PandaFault
from cmd_panda.logs import fetch
from cmd_panda.records import JobError, JobRecord, TaskRecord
from cmd_panda.states import link_of, words_of
from cmd_panda.watching import FINAL
from cmd_panda.work import Place

MOST_PARTS = 1000
BROKERAGE = "brokerage log"
LAST_WORDS = 600
JOB_ENDS = frozenset({"finished", "failed", "closed", "cancelled"})
FOLLOW_S = 5.0


def link_to(place: Place, what: str) -> str:
    """A page of the monitor; "" where none is configured."""
    monitor = place.settings.monitor.rstrip("/")
    return f"{monitor}/{what}" if monitor else ""


def logs_of(job: JobRecord) -> dict[str, str]:
    """The logs of a job: URLs by name. Harvester notes the pilot's own, and the others lie beside it:
    those of the batch system where it is a `.out`, those of the payload where it is `pilotlog.txt`."""
    if not job.stdout:
        return {}
    parts = urlsplit(job.stdout)
    path = PurePosixPath(parts.path)

    def beside(name: str) -> str:
        return urlunsplit(parts._replace(path=str(path.with_name(name))))

    logs = {f"job {job.id}/pilot": job.stdout}
    if path.suffix == ".out":
        logs[f"job {job.id}/batch.err"] = beside(path.stem + ".err")
        logs[f"job {job.id}/batch.log"] = beside(path.stem + ".log")
    else:
        logs[f"job {job.id}/payload.stdout"] = beside("payload.stdout")
        logs[f"job {job.id}/payload.stderr"] = beside("payload.stderr")
    return logs


async def parts_of_task(place: Place, table: ErrorTable, id: int) -> list[Part]:
    """The task, then its jobs, those with errors first, each with its logs; at most 1000. What
    cannot be asked is told as a part."""
    server = place.shared().server
    try:
        task, jobs = await asyncio.gather(server.task(id), server.jobs(id))
    except PandaFault as fault:
        return [Part(f"task {id}", "task", "unknown", message=str(fault))]
    if task is None:
        words = "PanDA has not refined it yet, or has it no more"
        return [Part(f"task {id}", "task", "unknown", message=words)]
    parts = [task_part(place, table, task)]
    if link := link_of(task.error):
        words = await _last_words(link)
        parts.append(Part(BROKERAGE, "log", message=words, link=link, log=True))
    for job in sorted(jobs, key=lambda each: (not each.errors, each.id)):
        parts += job_parts(place, table, job)
    return parts[:MOST_PARTS]


def task_part(place: Place, table: ErrorTable, task: TaskRecord) -> Part:
    """One task, with what PanDA says is wrong with it."""
    words = ""
    if task.error and task.status != "done":
        words = table.judge([JobError("jedi", 0, words_of(task.error))]).words
    return Part(
        f"task {task.id}",
        "task",
        task.status,
        {
            "files": task.files,
            "finished": task.finished,
            "failed": task.failed,
            "missing": task.missing,
        },
        message=words,
        link=link_to(place, f"task/{task.id}/"),
    )


def job_parts(place: Place, table: ErrorTable, job: JobRecord) -> list[Part]:
    """One job with the sources of its errors, and its logs."""
    words = table.judge(job.errors).words if job.errors else ""
    at = f"{job.queue}: " if words and job.queue else ""
    inputs = f" (of {', '.join(job.inputs[:3])})" if job.inputs and words else ""
    page = link_to(place, f"job?pandaid={job.id}")
    parts = [Part(f"job {job.id}", "job", job.status, message=f"{at}{words}{inputs}", link=page)]
    parts += [Part(name, "log", link=url, log=True) for name, url in logs_of(job).items()]
    return parts


async def _last_words(link: str) -> str:
    """The end of the brokerage's log; "" if it cannot be read."""
    try:
        return " ".join(
            [
                chunk.data.decode(errors="replace").strip()
                async for chunk in fetch(link, -LAST_WORDS)
            ]
        )
    except DriverError:
        return ""


async def read_part(
    place: Place, task: int, part: str, offset: int, follow: bool
) -> AsyncIterator[LogChunk]:
    """The bytes of a log of a task by its part's name; with `follow` until its job is over. Raises
    DriverError PERMANENT for a part that is none."""
    while True:
        url, growing = await _find(place, task, part)
        async for chunk in fetch(url, offset):
            offset = chunk.offset + len(chunk.data)
            if chunk.data:
                yield chunk
        if not (growing and follow):
            yield LogChunk(max(offset, 0), b"", end=not growing)
            return
        await asyncio.sleep(FOLLOW_S)


async def _find(place: Place, task: int, part: str) -> tuple[str, bool]:
    """(the URL of a log, whether it may grow)."""
    server = place.shared().server
    if part == BROKERAGE:
        known = await server.task(task)
        if known is not None and (link := link_of(known.error)):
            return link, known.status not in FINAL
    for job in await server.jobs(task) if part.startswith("job ") else ():
        if (url := logs_of(job).get(part)) is not None:
            return url, job.status not in JOB_ENDS
    raise DriverError(ErrorClass.PERMANENT, f"{place.here}: task {task} has no log '{part}'")
