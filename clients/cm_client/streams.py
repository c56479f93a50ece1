"""The two streams of the API, and where each goes on after its connection was lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import grpc

from cmd_api.v1 import event_pb2, job_pb2

from .call import Call
from .errors import CmError, DaemonUnavailable, WatcherTooSlow, connection_lost

OnLost = Callable[[CmError, float], None]

TOKEN_EXPIRED = "TOKEN_EXPIRED"

HEARTBEAT_LIMIT = 30.0
"""Seconds; the daemon sends a heartbeat about every 10 s, so three missing ones are a dead peer."""


@dataclass
class EventStream:
    """WatchEvents: goes on after the last batch that was received."""

    parent: str
    kinds: Iterable[str]
    resume_token: str
    on_lost: OnLost | None = None
    silence: float | None = HEARTBEAT_LIMIT
    _connected: bool = field(default=False, init=False)

    def call(self) -> Call[event_pb2.WatchEventsResponse]:
        """The call from the last resume token on."""
        request = event_pb2.WatchEventsRequest(
            parent=self.parent, kinds=self.kinds, resume_token=self.resume_token
        )
        return Call("EventService/WatchEvents", request, event_pb2.WatchEventsResponse)

    def accept(self, message: event_pb2.WatchEventsResponse) -> None:
        """Remember where to go on."""
        self._connected = True
        self.resume_token = message.resume_token or self.resume_token

    def resumes_after(self, error: CmError) -> bool:
        """After a lost connection, when the daemon ended a watch that was too slow, and once when the token
        is over: there may be a new one."""
        connected = self._connected
        if error.reason == TOKEN_EXPIRED:
            self._connected = False
            return connected
        return connected and (connection_lost(error) or isinstance(error, WatcherTooSlow))

    def notify(self, error: CmError, wait: float) -> None:
        """Tell the caller that the connection was lost."""
        if self.on_lost is not None:
            self.on_lost(error, wait)


@dataclass
class LogStream:
    """ReadLog: goes on at the byte after the last one that was received."""

    name: str
    attempt: int
    part: str
    offset: int
    follow: bool
    on_lost: OnLost | None = None
    silence: float | None = None
    _connected: bool = field(default=False, init=False)

    def call(self) -> Call[job_pb2.ReadLogResponse]:
        """The call from the next byte on."""
        request = job_pb2.ReadLogRequest(
            name=self.name,
            attempt=self.attempt,
            part=self.part,
            offset=self.offset,
            follow=self.follow,
        )
        return Call("JobService/ReadLog", request, job_pb2.ReadLogResponse)

    def accept(self, message: job_pb2.ReadLogResponse) -> None:
        """Stay with this attempt and part, whatever becomes the newest in between."""
        self._connected = True
        self.attempt = message.attempt or self.attempt
        self.part = message.part or self.part
        self.offset = message.offset + len(message.data)

    def resumes_after(self, error: CmError) -> bool:
        """After a lost connection, and once when the token is over: there may be a new one."""
        connected = self._connected
        if error.reason == TOKEN_EXPIRED:
            self._connected = False
            return connected
        return connected and connection_lost(error)

    def notify(self, error: CmError, wait: float) -> None:
        """Tell the caller that the connection was lost."""
        if self.on_lost is not None:
            self.on_lost(error, wait)


def silent(address: str, seconds: float) -> CmError:
    """The error for a stream whose heartbeats stopped."""
    return DaemonUnavailable(
        f"The daemon at {address} has been silent for {seconds:.0f} s.",
        code=grpc.StatusCode.UNAVAILABLE,
    )
