"""The relay to iDDS: the old path with its own answers, and the new one in the envelope."""

import gzip
import inspect
import json
import re
from collections.abc import Callable
from enum import Enum
from typing import Any

from panda_server.idds import requests
from panda_server.idds.enums import tagged
from panda_server.idds.manager import Manager
from panda_server.web.calls import NO_TOKEN, Answer, Context, call, no, ok
from panda_server.web.exchange import Request

LEGACY = "/server/panda/relay_idds_command"
OWN = ("abort", "suspend", "resume", "retry", "finish")


class RelayError(Exception):
    """The relay itself refuses."""


def unreachable(host: str, command: str) -> list[Any]:
    """What the client of iDDS says of an address where nobody listens."""
    found = re.fullmatch(r"\w+://([^:/]+):?(\d*)/?", host)
    name, port = found.groups() if found else (host, "")
    pool = f"(host='{name}', port={port or 443})"
    cause = "Failed to establish a new connection: [Errno 111] Connection refused"
    return [
        False,
        "Connection exception.: {}\nDetails: ConnectionError: "
        f"HTTPConnectionPool{pool}: Max retries exceeded with url: /{command} "
        f'(Caused by NewConnectionError("HTTPConnection{pool}: {cause}"))',
    ]


def relayed(
    at: Context, name: str, args: str | None, kwargs: str | None, manager: bool, as_json: bool
) -> Any:
    """Run a command of the client manager; RelayError if there is none of this name."""
    name, _, host = name.partition("+")
    kind = "ClientManager" if manager else "Client"
    method = Manager.command(name)
    if method is None:
        raise RelayError(f"{name} is not a command of iDDS {kind}")
    if host:
        return unreachable(host, name)
    named = json.loads(kwargs) if kwargs else {}
    listed = [args] if name == "submit" and args else json.loads(args) if args else []
    try:
        inspect.signature(method).bind(None, *listed, **named)
    except TypeError as problem:
        return [False, f"{kind}.{name}() {problem}"]
    result = method(Manager(at.world, at.user), *listed, **named)
    return {"data": result, "error": None, "status": 0} if as_json else result


@call("idds/relay_idds_command", "POST")
def relay_idds_command(
    at: Context,
    command_name: str,
    args: str | None = None,
    kwargs: str | None = None,
    manager: bool = False,
    json_outputs: bool = False,
) -> Answer:
    """Relay a command; what has an enum in it cannot be written and becomes status 500."""
    try:
        return ok(relayed(at, command_name, args, kwargs, manager, json_outputs))
    except RelayError as refusal:
        return no(str(refusal))


@call("idds/execute_idds_workflow_command", "POST")
def execute_idds_workflow_command(
    at: Context, command_name: str, kwargs: str | None = None, json_outputs: bool = False
) -> Answer:
    """A few commands, with a look at the owner."""
    named = json.loads(kwargs) if kwargs else {}
    if command_name not in ("get_status", *OWN):
        return no(f"{command_name} is unsupported")
    number = named.get("request_id")
    if command_name in OWN:
        request = at.world.requests.get(number)
        if request is None:
            return no(f"request {number} is not found")
        if request.owner != at.user:
            return no(f"request {number} is not owned by {at.user}")
    method: Callable[..., Any] | None = Manager.command(command_name)
    assert method is not None
    result = method(Manager(at.world, at.user), **named)
    return ok({"data": result, "error": None, "status": 0} if json_outputs else result)


def legacy(at: Context, request: Request) -> str:
    """The old path: a packed body whatever its headers say; the answer is `[ok, value]`."""
    told = json.loads(gzip.decompress(request.body))
    if at.caller is None:
        return json.dumps([False, NO_TOKEN])
    try:
        result = relayed(
            at,
            told["command_name"],
            told.get("args"),
            told.get("kwargs"),
            bool(told.get("manager")),
            bool(told.get("json_outputs")),
        )
    except RelayError as refusal:
        return json.dumps([False, str(refusal)])
    return json.dumps([True, result], default=_tag)


def _tag(value: Any) -> Any:
    return tagged(value) if isinstance(value, Enum) else requests.date(value)
