"""What the store needs of one kind of database. `sqlite.py` is the first; one for PostgreSQL has its
place beside it, under the same code."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from cmd_daemon.kernel.decision import Batch

CommitPoint = Callable[[str], None]


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

    async def write(self, batch: Batch) -> None:
        """Write the batch in one transaction, or nothing. Errors as told at `Store.commit`."""
        ...

    async def prune_requests(self, before: int) -> int:
        """Delete the answers given before `before` (microseconds UTC); how many there were."""
        ...

    async def check(self) -> Health:
        """Ask the database and its disk how they are."""
        ...

    async def close(self) -> None:
        """Wait for the transaction under way, close all connections, give the lock back."""
        ...
