"""One request and one response of HTTP."""

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Request:
    """One HTTP request with its whole body."""

    verb: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def plain_body(self) -> bytes:
        """The body, unpacked if it is packed, whatever the headers say."""
        return gzip.decompress(self.body) if self.body[:2] == b"\x1f\x8b" else self.body

    @property
    def is_json(self) -> bool:
        """Whether its body says that it is JSON."""
        return self.headers.get("content-type") == "application/json"

    @property
    def wants_json(self) -> bool:
        """Whether the answer is JSON: without this exact header it is Python's repr."""
        return self.is_json or self.headers.get("accept") == "application/json"


@dataclass
class Response:
    """What goes back. Every answer is text/plain."""

    status: int
    text: str | bytes
    headers: dict[str, str] = field(default_factory=dict)
