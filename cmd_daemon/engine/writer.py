"""The one writer: everything decided while a commit is under way goes into the next one."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.journal import Journal
from cmd_daemon.kernel.decided import around, decided
from cmd_daemon.kernel.decision import Batch, Decision
from cmd_daemon.kernel.events import Event
from cmd_daemon.kernel.records import AuditRow, Effect
from cmd_daemon.kernel.view import View
from cmd_daemon.observe import metrics
from cmd_daemon.store.errors import StoreUnavailable

log = structlog.get_logger()

FULL = 10_000
"""Events and new entities in the pending batch above which the loop waits for the writer."""


@dataclass(slots=True)
class Pending:
    """A batch that grows, and what may happen only once it is committed."""

    batch: Batch = field(default_factory=Batch)
    effects: list[Effect] = field(default_factory=list)
    recalls: list[int] = field(default_factory=list)
    answers: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.batch or self.answers or self.recalls)

    def keep(self, view: View, event: Event, at: int, seq: int, decision: Decision) -> None:
        """Take note of the event that a decision, which is not applied yet, was made on."""
        kept = decided(view, event, at, seq, decision) if decision else None
        if kept is not None:
            if not self.batch.decided:
                self.batch.decided.append(around(view))
            self.batch.decided.append(kept)


class Writer:
    """Commits pending batches, one at a time, in order.

    A store that is unavailable is asked again with the same batch until it takes it: memory is ahead of
    the store then, but nothing of it has shown outside. `problem` says so meanwhile. Any
    other error of the store ends the daemon: a restart reads the truth back.
    """

    def __init__(
        self, journal: Journal, clock: Clock, committed: Callable[[Pending, float], None]
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._committed = committed
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.pending = Pending()
        self.problem = ""

    def want(self) -> None:
        """There is something to commit."""
        if self.pending:
            self._idle.clear()
            self._wanted.set()

    async def audit(self, row: AuditRow) -> None:
        """Commit the audit of a call that changed nothing."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pending.batch.audits.append(row)
        self.pending.answers.append(lambda: None if done.done() else done.set_result(None))
        self.want()
        await done

    @property
    def full(self) -> bool:
        """The loop should wait before it decides more."""
        batch = self.pending.batch
        return len(batch.records) + len(batch.created) >= FULL

    async def room(self) -> None:
        """Return once the pending batch has been taken to be committed."""
        self._room.clear()
        await self._room.wait()

    async def flushed(self) -> None:
        """Return once everything wanted so far is committed."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit, for ever. Raises StoreError if the store refuses for good."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            taken, self.pending = self.pending, Pending()
            self._room.set()
            began = self._clock.now()
            if taken.batch:
                await self._commit(taken.batch)
            self._committed(taken, (self._clock.now() - began) / 1e6)
            if self.pending:
                self._wanted.set()
            else:
                self._idle.set()

    async def _commit(self, batch: Batch) -> None:
        pause = 0.2
        while True:
            try:
                await self._journal.commit(batch)
            except StoreUnavailable as error:
                if not self.problem:
                    log.error("the store takes no writes", problem=str(error))
                self.problem = str(error)
                metrics.accepting.set(0)
                await self._clock.wait(pause)
                pause = min(pause * 2, 5.0)
            else:
                if self.problem:
                    log.info("the store takes writes again")
                    metrics.accepting.set(1)
                self.problem = ""
                return
