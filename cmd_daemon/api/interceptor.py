"""The one interceptor: context for logs, errors as statuses, and metrics, in a single layer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from cmd_daemon.api.errors import DETAILS, ApiError
from cmd_daemon.api.service import Context, actor_of
from cmd_daemon.engine.engine import Engine, NotAccepting
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.observe.metrics import rpc_seconds

log = structlog.get_logger()

OURS = "/cmd_api.v1."

OF_A_STANDBY = frozenset(
    {
        *("GetCampaign", "ListCampaigns", "GetCampaignFile", "GetCampaignSchema"),
        *("GetStep", "ListSteps", "GetNexus", "GetGroup", "ListGroups", "ListPlacements"),
        *("GetJob", "ListJobs", "ListAttempts", "ListEvents", "WatchEvents"),
        *("GetDaemon", "ListPlugins"),
    }
)
"""What a stand-by answers: all that only reads the store. The rest is known to the leader alone."""


class Edge(grpc.aio.ServerInterceptor):
    """Wraps our services; health and reflection pass through."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
        if handler is None or not method.startswith(OURS):
            return handler
        short = method.rpartition("/")[2]
        read = _reader(handler.request_deserializer)
        if self._engine.standing_by and short not in OF_A_STANDBY:
            return _refusing(handler, NotAccepting(self._engine.standing_by), short)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(short, handler.unary_stream),
                read,
                handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            _unary(short, handler.unary_unary),
            read,
            handler.response_serializer,
        )


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


def _refusing(
    handler: grpc.RpcMethodHandler[Any, Any], why: Exception, method: str
) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler that does nothing but say why."""

    async def refuse(request: Any, context: Context) -> None:
        await _abort(context, as_api_error(why, method))

    wrap: Any = (
        grpc.unary_stream_rpc_method_handler
        if handler.response_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    refusing: grpc.RpcMethodHandler[Any, Any] = wrap(
        refuse, _reader(handler.request_deserializer), handler.response_serializer
    )
    return refusing


def _unary(method: str, behaviour: Any) -> Any:
    async def call(request: Any, context: Context) -> Any:
        began = time.perf_counter()
        code = "OK"
        _bind(method, request, context)
        try:
            return await behaviour(_checked(request), context)
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            failed = as_api_error(error, method)
            code = failed.code.name
            await _abort(context, failed)
        finally:
            rpc_seconds.labels(method, code).observe(time.perf_counter() - began)

    return call


def _streaming(method: str, behaviour: Any) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        _bind(method, request, context)
        try:
            # Closed here and now, also when the client has gone away.
            async with aclosing(behaviour(_checked(request), context)) as messages:
                async for message in messages:
                    yield message
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            await _abort(context, as_api_error(error, method))

    return call


def _bind(method: str, request: Any, context: Context) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(
        rpc=method, actor=actor_of(context), request_id=getattr(request, "request_id", "")
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
