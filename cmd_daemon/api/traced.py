"""Spans of the API's calls, only there when traces are configured. Streams have none: they never end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import grpc.aio

from cmd_daemon.api.identity.roles import OURS
from cmd_daemon.api.service import Context

if TYPE_CHECKING:
    from cmd_daemon.observe.traces import Traces

COLLECTIONS = {"campaigns": "campaign", "steps": "step", "groups": "group", "jobs": "job"}


class Traced(grpc.aio.ServerInterceptor):
    """Around everything else, so that a span has the status that the client gets."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.response_streaming or not method.startswith(OURS):
            return handler
        service, _, short = method.removeprefix("/").rpartition("/")
        return grpc.unary_unary_rpc_method_handler(
            self._call(service, short, handler.unary_unary),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _call(self, service: str, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            if getattr(request, "request_id", None) == "":
                # What follows from the call is found by it, also after a restart.
                request.request_id = uuid4().hex
            request_id = getattr(request, "request_id", "")
            with self._traces.call(service, method, request_id, _parent(context)) as span:
                span.set_attributes(_about(request))
                try:
                    answer = await behaviour(request, context)
                except BaseException:
                    span.set_attribute("rpc.grpc.status_code", _code(context) or "CANCELLED")
                    raise
                span.set_attributes(_about(getattr(answer, "campaign", answer)))
                span.set_attribute("rpc.grpc.status_code", "OK")
                return answer

        return call


def _code(context: Context) -> str:
    """The status that the call was ended with; "" if it was not."""
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return next((each.name for each in grpc.StatusCode if number and each.value[0] == number), "")


def _parent(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str):
            return value
    return ""


def _about(message: Any) -> dict[str, str]:
    """What a request or an answer names."""
    name = getattr(message, "name", "") or getattr(message, "parent", "")
    if not isinstance(name, str):
        return {}
    parts = name.split("/")
    found = {
        f"cmd.{COLLECTIONS[collection]}": part
        for collection, part in zip(parts[::2], parts[1::2], strict=False)
        if collection in COLLECTIONS
    }
    if parts[0] == "facilities":
        found["cmd.facility"] = name.removeprefix("facilities/")
    return found
