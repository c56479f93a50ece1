"""The history, newest first, of everything or of one entity."""

from __future__ import annotations

from cmd_api.v1.event_pb2 import ListEventsResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from cm_client import parse_name, short_name

from ..desk import Desk, Page

EVENTS = 100
KINDS = ("campaign", "step", "group", "job", "facility")


async def events(desk: Desk, request: Request) -> Page:
    """One page of events; `parent` in short or full form, `kind`, `page`."""
    query = request.query_params
    parent, kind, page = (query.get(name, "") for name in ("parent", "kind", "page"))
    if kind and kind not in KINDS:
        raise HTTPException(400, f"{kind} is none of {', '.join(KINDS)}.")
    try:
        full = parse_name(parent).full if parent else ""
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    answer: ListEventsResponse = await desk.client.list_events(
        full, newest_first=True, page_size=EVENTS, page_token=page, kinds=[kind] if kind else []
    )
    return Page(
        "events.html",
        "Events",
        {
            "parent": short_name(full) if full else "",
            "kind_chosen": kind,
            "kinds": KINDS,
            "events": answer.events,
            "next": answer.next_page_token,
            "later": bool(page),
        },
    )
