"""The ASGI app: routes, the watch that runs beside it, and errors in the daemon's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from cm_client import (
    CmError,
    DaemonUnavailable,
    InvalidArgument,
    InvalidName,
    NotFound,
    PermissionDenied,
)

from . import acting
from .desk import Desk, Page, PageOf
from .guard import LOOPBACK, Guard
from .pages.campaign import campaign
from .pages.campaigns import campaigns
from .pages.events import events
from .pages.facilities import facilities, facility
from .pages.group import group
from .pages.job import job, log
from .pages.nexus import nexus
from .pages.schedules import schedule, schedules
from .pages.search import search
from .pages.step import step
from .rendering import STATIC, environment

BEAT_S = 10.0
"""Seconds between two signs of life to a browser."""

MOST_BYTES = 1024 * 1024
"""Of what a browser sends."""

YEAR = "public, max-age=31536000, immutable"

_STATUS: tuple[tuple[type[CmError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (InvalidName, HTTPStatus.NOT_FOUND),
    (InvalidArgument, HTTPStatus.BAD_REQUEST),
    (PermissionDenied, HTTPStatus.FORBIDDEN),
    (DaemonUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)

Answer = Callable[[Request], Coroutine[Any, Any, Response]]

CAMPAIGN = "/campaigns/{campaign}"
STEP = CAMPAIGN + "/steps/{step}"
GROUP = STEP + "/groups/{group}"
JOB = GROUP + "/jobs/{job}"


class KeptFiles(StaticFiles):
    """Our files. Browsers keep those that are asked for by an address that changes with them, and ask
    about the others each time."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As usual, and for how long it may be kept."""
        answer = await super().get_response(path, scope)
        named = bool(scope["query_string"])
        answer.headers["cache-control"] = YEAR if named else "no-cache"
        return answer


class Site:
    """The pages, on one desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.templates = environment()
        self.templates.globals["may"] = desk.may
        self.templates.globals["daemon_address"] = desk.client.address.target

    def page(self, make: PageOf, *topics: str) -> Answer:
        """An endpoint that shows a page. Its topics are those given, or else the resource that its
        path begins with. Browsers that ask for the same page at once get the same rendering."""

        async def answer(request: Request) -> Response:
            about = topics or (topic_of(request.url.path),)
            if self.desk.hub.problem:  # said at once; every call would try for seconds
                return self._problem(
                    request, HTTPStatus.SERVICE_UNAVAILABLE, self.desk.hub.problem, about
                )

            async def render() -> str:
                await self.desk.know_caller()
                return self._html(await make(self.desk, request), request, about)

            key = (request.url.path, request.url.query)
            return HTMLResponse(await self.desk.memory.get(key, about, render))

        return answer

    def _html(self, page: Page, request: Request, topics: Collection[str]) -> str:
        return self.templates.get_template(page.template).render(
            title=page.title,
            path=request.url.path,
            query=dict(request.query_params),
            actor=self.desk.caller.who or self.desk.client.address.actor,
            role=self.desk.caller.role,
            topics=sorted(topics),
            every_s=page.every_s,
            problem=self.desk.hub.problem,
            **page.facts,
        )

    async def ask(self, request: Request) -> Response:
        """The page that asks for confirmation; never a kept one."""
        await self.desk.know_caller()
        return HTMLResponse(self._html(await acting.ask(self.desk, request), request, ()))

    async def act(self, request: Request) -> Response:
        """What was confirmed is done."""
        done = await acting.act(self.desk, request)
        if isinstance(done, Response):
            return done
        return HTMLResponse(self._html(done, request, ()), HTTPStatus.CONFLICT)

    async def log(self, request: Request) -> Response:
        """The text of a log."""
        return await log(self.desk, request)

    async def live(self, request: Request) -> Response:
        """News for one browser, as server-sent events."""
        topics = request.query_params.getlist("on")[:20]

        async def lines() -> AsyncIterator[str]:
            async for message in self.desk.hub.messages(topics, BEAT_S):
                yield f"event: {message}\ndata: {message}\n\n"

        headers = {"x-accel-buffering": "no", "cache-control": "no-store"}
        return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)

    async def refused(self, request: Request, error: Exception) -> Response:
        """A page for an error of the daemon, in its words."""
        assert isinstance(error, CmError)
        status = next(
            (status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.BAD_GATEWAY
        )
        return self._problem(request, status, error.message)

    async def failed(self, request: Request, error: Exception) -> Response:
        """A page for what is wrong with the request itself."""
        assert isinstance(error, HTTPException)
        return self._problem(request, HTTPStatus(error.status_code), error.detail)

    def _problem(
        self,
        request: Request,
        status: HTTPStatus,
        message: str,
        topics: Collection[str] = ("campaigns",),
    ) -> Response:
        page = Page("problem.html", status.phrase, {"message": message, "status": status}, 2.0)
        return HTMLResponse(self._html(page, request, topics), status)

    def routes(self) -> list[Route | Mount]:
        """Every address there is."""
        return [
            Route("/", self.page(campaigns, "campaigns", "facilities", "events")),
            Route("/events", self.page(events, "events")),
            Route("/search", self.page(search, "campaigns")),
            Route("/live", self.live),
            Route("/act/{verb}", self.ask, methods=["GET"]),
            Route("/act/{verb}", self.act, methods=["POST"]),
            Route("/facilities", self.page(facilities, "facilities", "campaigns")),
            Route("/facilities/{facility}", self.page(facility)),
            Route("/schedules", self.page(schedules, "schedules")),
            Route("/schedules/{schedule}", self.page(schedule)),
            Route(CAMPAIGN, self.page(campaign)),
            Route(CAMPAIGN + "/nexus", self.page(nexus)),
            Route(STEP, self.page(step)),
            Route(GROUP, self.page(group)),
            Route(JOB, self.page(job)),
            Route(JOB + "/log", self.log),
            Mount("/static", KeptFiles(directory=str(STATIC))),
        ]


def topic_of(path: str) -> str:
    """The resource of a page's path: `/campaigns/DRP1/nexus` is about campaigns/DRP1."""
    parts = path.strip("/").split("/")
    return "/".join(parts[: len(parts) // 2 * 2])


def make_app(desk: Desk, port: int, names: Collection[str] = LOOPBACK) -> Starlette:
    """The app of a desk whose hub runs. `names` are the hosts it may be called by, `port` is its own."""
    site = Site(desk)
    return Starlette(
        routes=site.routes(),
        middleware=[Middleware(Guard, key=desk.key, port=port, names=names)],
        exception_handlers={CmError: site.refused, HTTPException: site.failed},
        max_body_size=MOST_BYTES,
    )
