"""A receiver of OTLP over HTTP that keeps every span it is sent, decoded."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Seen:
    """One span as it came."""

    name: str
    trace: bytes
    span: bytes
    parent: bytes
    links: list[bytes]
    began: int
    ended: int
    problem: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


class SpanReceiver:
    """Listens on a free port from its making until `close`."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                good = self.path == "/v1/traces"
                good &= self.headers["content-type"] == "application/x-protobuf"
                if good:
                    receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200 if good else 400)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep what was sent."""
        for each in request.resource_spans:
            resource = _plain(each.resource.attributes)
            for scope in each.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Seen(
                            span.name,
                            span.trace_id,
                            span.span_id,
                            span.parent_span_id,
                            [link.trace_id for link in span.links],
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            span.status.message,
                            _plain(span.attributes),
                            resource,
                        )
                    )

    def named(self, name: str, **attributes: Any) -> list[Seen]:
        """The spans of this name with these attributes (`step="one"` is `cmd.step`)."""
        return [
            span
            for span in list(self.spans)
            if span.name == name
            and all(span.attributes.get(f"cmd.{key}") == value for key, value in attributes.items())
        ]

    def get(self, name: str, **attributes: Any) -> Seen:
        """The only such span; waits for it."""
        found: list[Seen] = self.until(
            lambda: self.named(name, **attributes), f"{name} {attributes}"
        )
        assert len(found) == 1, found
        return found[0]

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Wait for something to hold; what it gave."""
        end = time.monotonic() + DEADLINE_S
        while not (found := true()):
            names = [(span.name, span.attributes) for span in self.spans]
            assert time.monotonic() < end, f"{what} never came; there is {names}"
            time.sleep(0.02)
        return found

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _plain(pairs: Any) -> dict[str, Any]:
    def value(given: AnyValue) -> Any:
        return getattr(given, str(given.WhichOneof("value")))

    return {pair.key: value(pair.value) for pair in pairs}
