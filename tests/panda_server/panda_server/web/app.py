"""The ASGI application: from a request to a call, and from its result to a text."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

from panda_server.faults import Faults, strike
from panda_server.web import (  # noqa: F401
    command_calls,
    idds_calls,
    job_calls,
    queue_calls,
    system_calls,
    task_calls,
)
from panda_server.web.calls import CALLS, Context
from panda_server.web.exchange import Receive, Request, Response, Scope, Send
from panda_server.web.files import form_files
from panda_server.web.identity import Caller, Forbidden, Issuer, identify

if TYPE_CHECKING:
    from panda_server.model.world import World

API = "/api/v1/"
CONTROL = "/control/"


class Place(Protocol):
    """Something that serves paths beside the API; None where a path is not its own."""

    def __call__(self, request: Request, world: "World") -> Response | None: ...


def encoded(value: Any) -> Any:
    """Times as the API writes them into JSON; enums of iDDS cannot be written."""
    if isinstance(value, datetime):
        return {"__datetime__": value.isoformat()}
    raise TypeError(f"Type not serializable for {value} ({type(value)})")


def query_arguments(query: str) -> dict[str, Any]:
    """A query's arguments; a key that is repeated is a list."""
    found = defaultdict(list)
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


class App:
    """The server's HTTP face. `places` serve what is not `/api/v1`."""

    def __init__(self, world: "World", issuer: Issuer) -> None:
        self.world = world
        self.issuer = issuer
        self.places: list[Place] = []
        self.faults = Faults(lambda: self.world)
        self.committed: Callable[[], None] = lambda: None
        self.requests: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        request = Request(
            verb=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode(),
            headers=headers,
            body=bytes(body),
        )
        fault = None if request.path.startswith(CONTROL) else self.faults.striking(request)
        made = fault is None or fault.made
        response = self.respond(request) if made else Response(500, "")
        answered = await strike(fault, send, response) if fault else response
        if answered is not None:
            await respond(send, answered)
        else:
            while (await receive())["type"] != "http.disconnect":
                pass

    def respond(self, request: Request) -> Response:
        """The answer to a request, after the world has come up to the present."""
        with self.world.lock:
            self.world.run_due()
            self.requests.append(f"{request.verb} {request.path}")
            response = self._caught(request)
            self.committed()
            return response

    def _caught(self, request: Request) -> Response:
        try:
            return self._serve(request)
        except Forbidden as refusal:
            return Response(403, f"ERROR : {refusal}")
        except json.JSONDecodeError as problem:
            return Response(500, f"ERROR : received invalid JSON : {problem}")
        except Exception as problem:  # noqa: BLE001 - as the real one: any failure is its text
            return Response(500, str(problem))

    def _serve(self, request: Request) -> Response:
        for place in self.places:
            response = place(request, self.world)
            if response is not None:
                return response
        if request.path == idds_calls.LEGACY:
            caller = self._caller(request)
            context = Context(self.world, caller, request.verb)
            return Response(200, idds_calls.legacy(context, request))
        path = request.path.removeprefix(API)
        if not request.path.startswith(API) or path not in CALLS:
            raise Forbidden(f"method {request.path.rsplit('/', 1)[-1]} is forbidden")
        caller = self._caller(request)
        arguments = self._arguments(request)
        if not isinstance(arguments, dict):
            module, _, method = path.partition("/")
            raise TypeError(
                f"pandaserver.api.v1.{module}_api.{method}() argument after ** must be a mapping, "
                f"not {type(arguments).__name__}"
            )
        result = CALLS[path](Context(self.world, caller, request.verb), arguments)
        if request.wants_json:
            return Response(200, json.dumps(result, default=encoded))
        return Response(200, result if isinstance(result, str) else str(result))

    def _caller(self, request: Request) -> Caller | None:
        world = self.world
        return identify(self.issuer, world.clock, request.headers, world.tokens_since)

    def _arguments(self, request: Request) -> Any:
        if request.is_json and request.verb in ("POST", "PUT"):
            zipped = request.headers.get("content-encoding") == "gzip"
            return json.loads(gzip.decompress(request.body) if zipped else request.body)
        if request.verb in ("GET", "HEAD"):
            return query_arguments(request.query)
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/"):
            return form_files(content_type, request.body)
        return query_arguments(request.body.decode())


async def respond(send: Send, response: Response) -> None:
    """Send a response."""
    body = response.text if isinstance(response.text, bytes) else response.text.encode()
    told = {"content-type": "text/plain", "content-length": str(len(body))} | response.headers
    headers = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
