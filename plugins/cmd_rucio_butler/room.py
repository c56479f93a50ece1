"""Room for the lists of files: a few movements of a facility hold theirs at a time.

The others wait outside with the names of what they wait for, so that the daemon's memory does not
grow with the files in flight.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

AT_ONCE = 4
"""Movements of one facility that hold the lists of their files at a time."""


class Seat:
    """A movement's place in the room, from entering to leaving the context."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self._room = room
        self._taken = False

    async def __aenter__(self) -> Self:
        await self._take()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Leave the seat to others for a while; whoever gets out by an error does not come back."""
        self._leave()
        yield
        await self._take()

    async def _take(self) -> None:
        await self._room.acquire()
        self._taken = True

    def _leave(self) -> None:
        if self._taken:
            self._taken = False
            self._room.release()
