"""From an attempt to its request, tasks, jobs, their errors and their logs."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from cmd_daemon.hooks import DriverError, ErrorClass, LogChunk, Part
from cmd_panda.bps.agents import BpsAgents
from cmd_panda.bps.following import Record, tasks_of, tasks_since
from cmd_panda.errors import ErrorTable
from cmd_panda.faults import PandaFault
from cmd_panda.inspecting import MOST_PARTS, job_parts, link_to, read_part, task_part
from cmd_panda.records import TaskRecord
from cmd_panda.work import Place

LOG = "log.txt"
FEW_JOBS = 50
"""Of a task with more jobs only those that failed are told of."""

PIECE = 64 * 1024
FOLLOW_S = 2.0


async def parts_of_workflow(place: Place, table: ErrorTable, record: Record) -> list[Part]:
    """The attempt at the facility with its log, the request, the tasks and their jobs, each with errors
    and logs; at most 1000."""
    quanta = record.get("quanta") or {}
    told = str(record.get("message") or (record.get("outcome") or {}).get("message") or "")
    parts = [
        Part("at the facility", "phase", str(record["stage"]), dict(quanta), told),
        Part(LOG, "log", message=str(record.get("path") or ""), log=True),
    ]
    number = record.get("request")
    if number is None:
        return parts
    try:
        requests = await place.shared().server.requests(int(number), detail=False)
        state, words = (requests[0].status, requests[0].error) if requests else ("unknown", "")
    except PandaFault as fault:
        state, words = "unknown", str(fault)
    page = link_to(place, f"idds/wfprogress/?requestid={number}")
    parts.append(Part(f"request {number}", "request", state, message=words, link=page))
    try:
        tasks = tasks_of(record, await tasks_since(place, [record]))
        server = place.shared().server
        jobs = await asyncio.gather(
            *(server.jobs(task.id, unsuccessful=task.files > FEW_JOBS) for task in tasks.values())
        )
    except PandaFault as fault:
        return [*parts, Part("tasks", "task", "unknown", message=str(fault))]
    for task, its_jobs in zip(tasks.values(), jobs, strict=True):
        parts.append(task_part(place, table, task))
        for job in sorted(its_jobs, key=lambda each: (not each.errors, each.id)):
            short = tuple(each.partition("+")[0].rpartition(":")[2] for each in job.inputs)
            parts += job_parts(place, table, replace(job, inputs=short))
    return parts[:MOST_PARTS]


async def read_workflow_log(
    place: Place,
    agents: BpsAgents,
    at: tuple[str, str],
    record: Record,
    part: str,
    offset: int,
    follow: bool,
) -> AsyncIterator[LogChunk]:
    """The bytes of a log by its part's name; `at` is the attempt's stack and directory. Raises
    DriverError PERMANENT for a part that is none."""
    if part in ("", LOG):
        async for chunk in _read_at_facility(agents, at, offset, follow):
            yield chunk
        return
    number = part.partition("/")[0].removeprefix("job ")
    for task in await _tasks(place, record):
        jobs = await place.shared().server.jobs(task.id)
        if number.isdigit() and int(number) in {job.id for job in jobs}:
            async for chunk in read_part(place, task.id, part, offset, follow):
                yield chunk
            return
    raise DriverError(
        ErrorClass.PERMANENT,
        f"{place.here}: the workflow {record.get('name')} has no log '{part}'",
    )


async def _tasks(place: Place, record: Record) -> Iterable[TaskRecord]:
    if record.get("request") is None:
        return ()
    return tasks_of(record, await tasks_since(place, [record])).values()


async def _read_at_facility(
    agents: BpsAgents, at: tuple[str, str], offset: int, follow: bool
) -> AsyncIterator[LogChunk]:
    stack, directory = at
    while True:
        told = await agents.ask(
            stack,
            "read_log",
            {"ref": directory, "offset": abs(offset), "from_end": offset < 0},
        )
        offset, data = int(told["offset"]), str(told["text"]).encode("latin-1")
        last = bool(told["over"]) and offset + len(data) >= int(told["size"])
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            yield LogChunk(offset + start, piece, last and start + PIECE >= len(data))
        offset += len(data)
        if last or (not follow and offset >= int(told["size"])):
            if last and not data:
                yield LogChunk(offset, b"", True)
            return
        if offset >= int(told["size"]):
            await asyncio.sleep(FOLLOW_S)
