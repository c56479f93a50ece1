"""An observer that ships what it is told of, from a buffer of its own, in batches."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from cmd_daemon.hooks import CommittedEvent, NexusEntry
from cmd_sinks.lines import Line, of_event, of_nexus
from cmd_sinks.sending import NotTaken, send
from cmd_sinks.settings import AnySink

log = logging.getLogger(__name__)

PAUSE_S, PAUSE_MOST_S = 1.0, 60.0
"""First and longest pause after a delivery that failed."""


class ShippingObserver:
    """Takes lines at once and ships them in a task of its own: the engine never waits for a server. A
    server that is away gets the same lines again later; when too many wait the oldest are dropped.
    `wait` pauses for seconds."""

    def __init__(
        self, name: str, settings: AnySink, wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.name = name
        self.dropped = 0
        self._settings = settings
        self._wait = wait
        self._lines: deque[Line] = deque()
        self._gone = 0
        self._task: asyncio.Task[None] | None = None

    async def observe(self, events: Sequence[CommittedEvent]) -> None:
        """Take the transition log."""
        self._put([of_event(event) for event in events])

    async def observe_nexus(self, entries: Sequence[NexusEntry]) -> None:
        """Take the nexus log."""
        self._put([of_nexus(entry) for entry in entries])

    @property
    def waiting(self) -> int:
        """Lines that have not been taken yet."""
        return len(self._lines)

    def _put(self, lines: Sequence[Line]) -> None:
        self._lines.extend(lines)
        dropped = len(self._lines) - self._settings.buffer
        if dropped > 0:
            self._let_go(dropped)
            self.dropped += dropped
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ship(), name=self.name)

    def _let_go(self, count: int) -> None:
        for _ in range(count):
            self._lines.popleft()
        self._gone += count

    async def _ship(self) -> None:
        """Until nothing waits any more."""
        pause, told = PAUSE_S, self.dropped
        while self._lines:
            batch = list(islice(self._lines, self._settings.batch))
            end = self._gone + len(batch)
            try:
                await send(self._settings, batch)
            except NotTaken as problem:
                if problem.again:
                    log.warning(
                        "%s: %s; %d lines wait, %d were dropped since the start",
                        *(self.name, problem, len(self._lines), self.dropped),
                    )
                    await self._wait(pause)
                    pause = min(pause * 2, PAUSE_MOST_S)
                    continue
                # Sent again they would be refused again, and hold up all that follow.
                log.error("%s: %s; they are left out", self.name, problem)
            pause = PAUSE_S
            # Some of the batch may have been dropped meanwhile.
            self._let_go(max(0, end - self._gone))
            if self.dropped > told:
                log.error("%s: %d lines were dropped", self.name, self.dropped - told)
                told = self.dropped
