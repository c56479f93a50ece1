"""The blocking client."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from copy import copy
from typing import Any, Self

import grpc

from .address import Address
from .call import LONG, Call, Res, Resumable, SyncRunner
from .credentials import Credentials
from .errors import CmError, error_of
from .methods import Methods
from .retry import Backoff
from .streams import silent


class Client(Methods, SyncRunner):
    """A connection to the daemon whose methods block. Safe to share between threads.

    `deadline` is in seconds for one call with all its tries, `plan_deadline` for planning and
    applying. Every method raises a CmError. Use it as a context manager, or `close()` it.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        actor: str | None = None,
        credentials: Credentials | None = None,
        deadline: float = 10.0,
        plan_deadline: float = 120.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.address = Address.find(address, actor, credentials=credentials)
        self.deadline = deadline
        self.plan_deadline = plan_deadline
        self.backoff = backoff or Backoff()
        self._channel = self.address.open_channel()

    def within(self, seconds: float) -> Self:
        """This client, on the same connection, with another deadline for each call."""
        other = copy(self)
        other.deadline = other.plan_deadline = seconds
        return other

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(self, call: Call[Res]) -> Res:
        """The answer to a call. Raises CmError."""
        rpc: grpc.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        end = time.monotonic() + (self.plan_deadline if call.length == LONG else self.deadline)
        failures = 0
        while True:
            try:
                answer: Res = rpc(
                    call.request,
                    timeout=max(0.0, end - time.monotonic()),
                    metadata=self.address.metadata,
                )
            except grpc.RpcError as failure:
                error = error_of(failure, self.address.target)
                failures += 1
                wait = self.backoff.wait(failures, random.random())
                again = self.backoff.again(error, repeatable=call.repeatable, failures=failures)
                if not again or time.monotonic() + wait >= end:
                    raise error from None
                time.sleep(wait)
            else:
                return answer

    def stream(self, stream: Resumable[Res], idle: float | None) -> Iterator[Res]:
        """The messages of a stream. Raises CmError."""
        failures = 0
        while True:
            try:
                with closing(self._receive(stream, idle)) as messages:
                    for message in messages:
                        if message is None:
                            yield stream.call().response()
                            continue
                        failures = 0
                        stream.accept(message)
                        yield message
            except CmError as error:
                failures += 1
                first_tries = self.backoff.again(error, repeatable=True, failures=failures)
                if not (stream.resumes_after(error) or first_tries):
                    raise
                wait = self.backoff.wait(failures, random.random())
                stream.notify(error, wait)
                time.sleep(wait)
            else:
                return

    def _receive(self, stream: Resumable[Res], idle: float | None) -> Generator[Res | None]:
        """The messages of one connection; None for each idle time without one.

        A thread of its own reads, because a blocking gRPC stream cannot be read with a timeout.
        """
        call = stream.call()
        rpc: grpc.UnaryStreamMultiCallable[Any, Any] = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        responses: Any = rpc(call.request, metadata=self.address.metadata)
        inbox: queue.Queue[Res | CmError | None] = queue.Queue(maxsize=8)
        closed = threading.Event()

        def put(thing: Res | CmError | None) -> None:
            while not closed.is_set():
                try:
                    inbox.put(thing, timeout=0.2)
                except queue.Full:
                    continue
                return

        def read() -> None:
            try:
                for message in responses:
                    put(message)
            except grpc.RpcError as failure:
                put(error_of(failure, self.address.target))
            else:
                put(None)

        reader = threading.Thread(target=read, name="cm-client-stream", daemon=True)
        reader.start()
        limits = [limit for limit in (idle, stream.silence) if limit is not None]
        heard = time.monotonic()
        try:
            while True:
                try:
                    thing = inbox.get(timeout=min(limits, default=None))
                except queue.Empty:
                    quiet = time.monotonic() - heard
                    if stream.silence is not None and quiet >= stream.silence:
                        raise silent(self.address.target, quiet) from None
                    yield None
                    continue
                heard = time.monotonic()
                if thing is None:
                    return
                if isinstance(thing, CmError):
                    raise thing
                yield thing
        finally:
            closed.set()
            responses.cancel()
