"""Timers: the due times of open entities, earliest first. Stored with the entities, rebuilt at start."""

import asyncio
import heapq
from collections.abc import Callable

from cmd_daemon.engine.clock import Clock
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Group, Job, Step

LONGEST = 30.0
"""Seconds slept at most: the machine's clock may be set while we sleep."""


class Timers:
    """A heap of (due, entity). An entry whose entity has another due time by then is void; the kernel
    sees to that."""

    def __init__(self, clock: Clock, fire: Callable[[ev.TimerFired], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._heap: list[tuple[int, int]] = []
        self._earlier = asyncio.Event()

    def note(self, entity: Step | Group | Job) -> None:
        """Take in an entity that has changed."""
        if entity.due_at is None:
            return
        entry = (entity.due_at, entity.id)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._earlier.set()

    async def run(self) -> None:
        """Fire what is due, for ever."""
        while True:
            self._earlier.clear()
            now = self._clock.now()
            while self._heap and self._heap[0][0] <= now:
                due, ident = heapq.heappop(self._heap)
                self._fire(ev.TimerFired(entity_id=ident, due_at=due))
            pause = LONGEST
            if self._heap:
                pause = min(max((self._heap[0][0] - now) / 1e6, 0.001), LONGEST)
            waiting = asyncio.ensure_future(self._clock.wait(pause))
            early = asyncio.ensure_future(self._earlier.wait())
            try:
                await asyncio.wait({waiting, early}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                early.cancel()
