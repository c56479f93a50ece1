"""One job: its attempts, quanta, failures, parts and logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from cmd_api.v1.job_pb2 import Attempt, Job, Part
from cmd_api.v1.step_pb2 import NexusEntry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cm_client import CmError, parse_name, short_name
from cm_client.words import FINAL, log_text, state_word

from ..actions import offered
from ..desk import Desk, Page
from .about import explained, last_events, nexus_of

FAILURES = 200
TAIL = 64 * 1024
"""Bytes of a log that are shown at first."""


@dataclass(slots=True)
class Parts:
    """The parts of an attempt; `problem` says why they cannot be told."""

    parts: list[Part] = field(default_factory=list)
    problem: str = ""


async def job(desk: Desk, request: Request) -> Page:
    """Everything of one job; `attempt` chooses which one, else the newest."""
    name = _name(request)
    number = _attempt_number(request)
    group = parse_name(name).parent.full
    entity: Job = await desk.keep(name, "get", lambda: desk.client.get_job(name))
    about, events, attempts, nexus = await asyncio.gather(
        explained(desk, name), last_events(desk, name), _attempts(desk, name), nexus_of(desk, group)
    )
    shown = next((each for each in attempts if each.number == number), None)
    if number and shown is None:
        raise HTTPException(404, f"{short_name(name)} has no attempt {number}.")
    shown = shown or (attempts[-1] if attempts else None)
    parts = await _parts(desk, name, shown.number) if shown else Parts()
    wanted = request.query_params.get("part", "")
    logs = [part.part for part in parts.parts if part.log]
    return Page(
        "job.html",
        short_name(name),
        {
            "job": entity,
            "group": group,
            "about": about,
            "actions": offered(about.actions),
            "attempts": attempts,
            "shown": shown,
            "failures": shown.failures[:FAILURES] if shown else [],
            "more_failures": max(0, len(shown.failures) - FAILURES) if shown else 0,
            "parts": parts,
            "logs": logs,
            "log": wanted if wanted in logs else next(iter(logs), ""),
            "tail": TAIL,
            "moved": _moved(nexus, name),
            "events": events,
        },
        every_s=0.0 if state_word(entity) in FINAL else 2.0,
    )


def _name(request: Request) -> str:
    return "campaigns/{campaign}/steps/{step}/groups/{group}/jobs/{job}".format(
        **request.path_params
    )


def _attempt_number(request: Request) -> int:
    given = request.query_params.get("attempt", "0")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise HTTPException(400, "attempt: must be a number")
    return int(given)


async def _attempts(desk: Desk, name: str) -> list[Attempt]:
    async def ask() -> list[Attempt]:
        return list((await desk.client.list_attempts(name)).attempts)

    return await desk.keep(name, "attempts", ask)


async def _parts(desk: Desk, name: str, attempt: int) -> Parts:
    """The driver is asked: its system may be away, which is no fault of this page."""

    async def ask() -> Parts:
        try:
            return Parts(list((await desk.client.list_parts(name, attempt=attempt)).parts))
        except CmError as error:
            return Parts(problem=error.message)

    return await desk.keep(name, f"parts {attempt}", ask, fresh_s=2.0)


def _moved(nexus: list[NexusEntry] | None, name: str) -> list[NexusEntry]:
    """What this job's movement has brought, if it is a movement."""
    movement = name.rpartition("/")[2].partition("-")[0]
    return [entry for entry in nexus or [] if entry.movement == movement]


async def log(desk: Desk, request: Request) -> Response:
    """The bytes of a log as plain text; `offset` may count from the end, `follow` goes on to its end."""
    query = request.query_params
    offset = query.get("offset", "0")
    if not offset.removeprefix("-").isdigit() or len(offset) > 18:
        raise HTTPException(400, "offset: must be a number")
    messages = desk.client.read_log(
        _name(request),
        attempt=_attempt_number(request),
        part=query.get("part", ""),
        offset=int(offset),
        follow=bool(query.get("follow")),
    )
    # The first piece is waited for: what is refused is refused with a status.
    first = await anext(messages, None)

    async def text() -> AsyncIterator[str]:
        decode = log_text()
        if first is not None:
            yield decode(first.data)
            async for message in messages:
                yield decode(message.data)

    return StreamingResponse(_until_lost(text()), media_type="text/plain; charset=utf-8")


async def _until_lost(text: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        async for piece in text:
            yield piece
    except CmError as error:
        yield f"\n[{error.message}]\n"
