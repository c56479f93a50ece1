"""The client for an event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from copy import copy
from typing import Any, Self

import grpc
import grpc.aio

from .address import Address
from .call import LONG, AsyncRunner, Call, Res, Resumable
from .credentials import Credentials
from .errors import CmError, error_of
from .methods import Methods
from .retry import Backoff
from .streams import silent


class AsyncClient(Methods, AsyncRunner):
    """A connection to the daemon whose methods are awaited. Make and use it on one event loop.

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
        self._channel = self.address.open_async_channel()

    def within(self, seconds: float) -> Self:
        """This client, on the same connection, with another deadline for each call."""
        other = copy(self)
        other.deadline = other.plan_deadline = seconds
        return other

    async def close(self) -> None:
        """End the connection and every call on it."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def run(self, call: Call[Res]) -> Res:
        """The answer to a call. Raises CmError."""
        rpc: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        end = time.monotonic() + (self.plan_deadline if call.length == LONG else self.deadline)
        failures = 0
        while True:
            try:
                answer: Res = await rpc(
                    call.request,
                    timeout=max(0.0, end - time.monotonic()),
                    metadata=grpc.aio.Metadata(*self.address.metadata),
                )
            except grpc.RpcError as failure:
                error = error_of(failure, self.address.target)
                failures += 1
                wait = self.backoff.wait(failures, random.random())
                again = self.backoff.again(error, repeatable=call.repeatable, failures=failures)
                if not again or time.monotonic() + wait >= end:
                    raise error from None
                await asyncio.sleep(wait)
            else:
                return answer

    async def stream(self, stream: Resumable[Res], idle: float | None) -> AsyncIterator[Res]:
        """The messages of a stream. Raises CmError."""
        failures = 0
        while True:
            try:
                async with aclosing(self._receive(stream, idle)) as messages:
                    async for message in messages:
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
                await asyncio.sleep(wait)
            else:
                return

    async def _receive(
        self, stream: Resumable[Res], idle: float | None
    ) -> AsyncGenerator[Res | None]:
        """The messages of one connection; None for each idle time without one."""
        call = stream.call()
        rpc: grpc.aio.UnaryStreamMultiCallable[Any, Any] = self._channel.unary_stream(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.response.FromString,
        )
        responses: Any = rpc(call.request, metadata=grpc.aio.Metadata(*self.address.metadata))
        limits = [limit for limit in (idle, stream.silence) if limit is not None]
        heard = time.monotonic()
        # A read that was cancelled would end the call: the same read is waited for again instead.
        read: asyncio.Task[Any] = asyncio.ensure_future(responses.read())
        try:
            while True:
                await asyncio.wait({read}, timeout=min(limits, default=None))
                if not read.done():
                    quiet = time.monotonic() - heard
                    if stream.silence is not None and quiet >= stream.silence:
                        raise silent(self.address.target, quiet)
                    yield None
                    continue
                try:
                    message = read.result()
                except grpc.RpcError as failure:
                    raise error_of(failure, self.address.target) from None
                heard = time.monotonic()
                if message is grpc.aio.EOF:
                    return
                yield message
                read = asyncio.ensure_future(responses.read())
        finally:
            responses.cancel()
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)
