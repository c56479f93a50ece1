"""The one interceptor: the gate, context for logs, errors as statuses, and metrics, in a single layer."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from cmd_daemon.api.errors import DETAILS, ApiError
from cmd_daemon.api.identity.gate import Gate, check_time
from cmd_daemon.api.identity.roles import OPEN, OURS
from cmd_daemon.api.service import Context
from cmd_daemon.engine.engine import Engine, NotAccepting
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.observe.metrics import rpc_seconds

log = structlog.get_logger()

OF_A_STANDBY = frozenset(
    {
        *("GetCampaign", "ListCampaigns", "GetCampaignFile", "GetCampaignSchema"),
        *("GetStep", "ListSteps", "GetNexus", "GetGroup", "ListGroups", "ListPlacements"),
        *("GetJob", "ListJobs", "ListAttempts", "ListEvents", "WatchEvents"),
        *("GetDaemon", "ListPlugins", "GetCaller", "ListAudit"),
    }
)
"""What a stand-by answers: all that only reads the store. The rest is known to the leader alone."""


class Edge(grpc.aio.ServerInterceptor):
    """Wraps every method that is served, but those that are open to anybody."""

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self._engine = engine
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or path in OPEN:
            return handler
        codec = (_reader(handler.request_deserializer), handler.response_serializer)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(path, handler.stream_stream), *codec
            )
        if handler.unary_stream is None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(path, handler.unary_unary), *codec
            )
        if inspect.isasyncgenfunction(handler.unary_stream):
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(path, handler.unary_stream), *codec
            )
        # One that writes to the context by itself, as the health service's.
        return grpc.unary_stream_rpc_method_handler(
            self._unary(path, handler.unary_stream, stream=True), *codec
        )

    def _unary(self, path: str, behaviour: Any, stream: bool = False) -> Any:
        method = path.rpartition("/")[2]

        async def call(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            code = "OK"
            try:
                async with self._gate.admit(
                    path, request, context, stream, self._now()
                ) as admitted:
                    _bind(method, request, admitted.caller.who)
                    try:
                        self._check_standby(path, method)
                        return await behaviour(_checked(request), context)
                    except Exception as error:
                        raise as_api_error(error, method) from error
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                failed = as_api_error(error, method)
                code = failed.code.name
                await _abort(context, failed)
            finally:
                if path.startswith(OURS) and not stream:
                    rpc_seconds.labels(method, code).observe(time.perf_counter() - began)

        return call

    def _streaming(self, path: str, behaviour: Any) -> Any:
        method = path.rpartition("/")[2]

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async with self._gate.admit(path, request, context, True, self._now()) as admitted:
                    _bind(method, request, admitted.caller.who)
                    self._check_standby(path, method)
                    # Closed here and now, also when the client has gone away.
                    async with aclosing(behaviour(_checked(request), context)) as messages:
                        async for message in messages:
                            yield message
                            check_time(admitted.caller)
            except Exception as error:  # noqa: BLE001 - every error becomes a status
                await _abort(context, as_api_error(error, method))

        return call

    def _check_standby(self, path: str, method: str) -> None:
        if self._engine.standing_by and path.startswith(OURS) and method not in OF_A_STANDBY:
            raise NotAccepting(self._engine.standing_by)

    def _now(self) -> int:
        return self._engine.clock.now()


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """A deserializer that answers with the error instead of raising it: grpc would log its traceback
    for each call and blame the daemon."""

    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw) if deserialize is not None else raw
        except DecodeError as error:
            return error

    return read


def _checked(request: Any) -> Any:
    if isinstance(request, DecodeError):
        raise ApiError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_ARGUMENT",
            f"The request is no message of this method: {request}",
        )
    return request


def _bind(method: str, request: Any, who: str) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(
        rpc=method, actor=who, request_id=getattr(request, "request_id", "")
    )


async def _abort(context: Context, error: ApiError) -> None:
    await context.abort(
        error.code, str(error)[:4000], trailing_metadata=((DETAILS, error.status()),)
    )


def as_api_error(error: Exception, method: str) -> ApiError:
    """What the client is told. Faults of our own are logged and told without their insides."""
    match error:
        case ApiError():
            return error
        case Refused():
            return ApiError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "STATE_REFUSED",
                f"{error.name}: {error}" if error.name else str(error),
                {"name": error.name, "state": error.state, "event": error.event},
            )
        case NotAccepting():
            return ApiError(
                grpc.StatusCode.UNAVAILABLE,
                "NOT_ACCEPTING",
                f"The daemon takes no changes now, nothing was done: {error}",
            )
        case ConnectionError():
            # The store's word for a database that cannot be reached; reads fail with it.
            return ApiError(grpc.StatusCode.UNAVAILABLE, "NOT_ACCEPTING", str(error))
        case _:
            log.exception("a call failed by a fault of the daemon", method=method)
            return ApiError(
                grpc.StatusCode.INTERNAL,
                "INTERNAL",
                f"{method} failed by a fault of the daemon ({type(error).__name__}); its log has "
                "the details.",
            )
