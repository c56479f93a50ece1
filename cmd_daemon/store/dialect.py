"""What the store needs of one kind of database: `sqlite.py` and `postgres` give it, under the same code."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cmd_daemon.kernel.decision import Batch

CommitPoint = Callable[[str], None]

ReaderConnection = Callable[[], AbstractAsyncContextManager[AsyncConnection]]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Health:
    """The answer of a health check: `problem` is empty when all is well. `free_bytes` is the room
    left on the database's disk, None where that cannot be known."""

    problem: str
    free_bytes: int | None
    size_bytes: int | None


class Dialect(Protocol):
    """One open database: a writer of its own and an engine for readers that cannot write."""

    readers: AsyncEngine
    on_commit_point: CommitPoint | None

    @property
    def leader(self) -> str:
        """See `Store.leader`."""
        ...

    @property
    def behind(self) -> bool:
        """See `Store.behind`."""
        ...

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A reader's connection. Raises StoreUnavailable if the database cannot be reached."""
        ...

    async def write(self, batch: Batch) -> None:
        """Write the batch in one transaction, or nothing. Errors as told at `Store.commit`."""
        ...

    async def remove(self, statements: Sequence[str]) -> int:
        """Delete rows by these statements in one transaction, or nothing; how many rows."""
        ...

    async def lead(self) -> None:
        """See `Store.lead`."""
        ...

    async def keep_lead(self) -> None:
        """See `Store.keep_lead`."""
        ...

    async def leading(self) -> None:
        """See `Store.leading`."""
        ...

    async def lead_in_doubt(self) -> None:
        """See `Store.lead_in_doubt`."""
        ...

    def overslept(self) -> bool:
        """See `Store.overslept`."""
        ...

    async def check(self, deep: bool = False) -> Health:
        """See `Store.check`."""
        ...

    async def close(self) -> None:
        """Wait for the transaction under way, close all connections, give the lock back."""
        ...


async def to_its_end(work: Awaitable[T]) -> T:
    """Await `work`. If the caller is cancelled meanwhile, the work is still waited for: whoever sees
    the cancellation can be sure that it is over."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # taken note of; the cancellation goes first
        raise
