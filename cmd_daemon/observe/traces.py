"""OpenTelemetry traces (the extra `otel`): a span for each call of the API, and for each attempt that a
driver is called for.

The ids of a call's span are made from its request id: whoever knows that, also a daemon that was started
later, knows the trace.
"""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cmd_daemon import __version__
from cmd_daemon.observe.spans import OutsideCall

PARTS = ("campaign", "step", "group", "job")

QUEUED = 20_000
"""Spans that wait to be sent at most; more are dropped."""

_planned: ContextVar[tuple[int, int] | None] = ContextVar("planned", default=None)


def trace_of(request_id: str) -> tuple[int, int]:
    """The trace of a call, and its span. 128 and 64 bits, never 0."""
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


class _Planned(RandomIdGenerator):
    """Ids that are known before; others are random."""

    def generate_trace_id(self) -> int:
        planned = _planned.get()
        return planned[0] if planned else super().generate_trace_id()

    def generate_span_id(self) -> int:
        planned = _planned.get()
        return planned[1] if planned else super().generate_span_id()


class Traces:
    """Sends spans to an OTLP/HTTP endpoint, in the background; what cannot be sent is dropped. `ratio` (0
    to 1) of the traces are kept, each of them whole."""

    def __init__(self, endpoint: str, ratio: float = 1.0) -> None:
        resource = Resource.create(
            {
                "service.name": "cmd-daemon",
                "service.version": __version__,
                "host.name": socket.gethostname(),
            }
        )
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(ratio),
            resource=resource,
            id_generator=_Planned(),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUED, schedule_delay_millis=1000)
        )
        self._tracer = self._provider.get_tracer("cmd_daemon", __version__)
        self._ended: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._make, name="spans", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what is left, and end. Blocks, for some seconds if nobody takes it."""
        self._ended.put(None)
        self._thread.join()
        self._provider.shutdown()

    def _make(self) -> None:
        """Spans of drivers' calls are made here: hundreds of them at once would hold up the loop."""
        while (make := self._ended.get()) is not None:
            make()

    def _later(self, make: Callable[[], None]) -> None:
        if self._ended.qsize() < QUEUED:
            self._ended.put(make)

    @contextmanager
    def call(self, service: str, method: str, request_id: str, parent: str = "") -> Iterator[Span]:
        """The span of a call of the API. `parent` is the caller's own `traceparent`: the span has a link
        to it."""
        span = self._begin(f"{service}/{method}", request_id, _links(parent))
        span.set_attributes(
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
            | ({"cmd.request_id": request_id} if request_id else {})
        )
        try:
            yield span
        finally:
            span.end()

    def _begin(self, name: str, request_id: str, links: list[Link]) -> Span:
        token = _planned.set(trace_of(request_id) if request_id else None)
        try:
            return self._tracer.start_span(name, Context(), SpanKind.SERVER, links=links)
        finally:
            _planned.reset(token)

    def attempt(self, call: OutsideCall, key: str, request_id: str, refused: str) -> None:
        """See `Spans`. What nobody asked for is a trace of each attempt."""
        self._later(partial(self._attempt, call, key, request_id, refused, time.time_ns()))

    def _attempt(
        self, call: OutsideCall, key: str, request_id: str, refused: str, ended: int
    ) -> None:
        trace, span_id = trace_of(request_id or key)
        sampled = TraceFlags(TraceFlags.SAMPLED)
        asker = NonRecordingSpan(SpanContext(trace, span_id, is_remote=True, trace_flags=sampled))
        name, _, number = key.rpartition("#")
        attributes = {**named(name), "cmd.attempt": int(number)}
        if request_id:
            attributes["cmd.request_id"] = request_id
        self._span(call, set_span_in_context(asker, Context()), attributes, refused, ended)

    def question(self, call: OutsideCall) -> None:
        """See `Spans`. A trace of its own."""
        self._later(partial(self._span, call, Context(), {}, "", time.time_ns()))

    def _span(
        self,
        call: OutsideCall,
        context: Context,
        more: dict[str, str | int],
        refused: str,
        ended: int,
    ) -> None:
        attributes = more | {
            "cmd.facility": call.facility,
            "cmd.driver": call.driver,
            "cmd.verb": call.verb,
            "cmd.attempts_in_call": call.attempts,
        }
        span = self._tracer.start_span(
            f"{call.driver} {call.verb}",
            context,
            SpanKind.CLIENT,
            attributes=attributes,
            start_time=call.began,
        )
        if problem := call.problem or refused:
            span.set_status(StatusCode.ERROR, problem)
        span.end(ended)


def named(name: str) -> dict[str, str | int]:
    """Attributes of a campaign's, step's, group's or job's short name."""
    return {f"cmd.{kind}": part for kind, part in zip(PARTS, name.split("/"), strict=False)}


def _links(parent: str) -> list[Link]:
    if not parent:
        return []
    found = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": parent}))
    context = found.get_span_context()
    return [Link(context)] if context.is_valid else []
