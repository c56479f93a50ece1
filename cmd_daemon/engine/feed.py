"""The feed of committed events, for watchers and observers."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from cmd_daemon.engine.journal import Journal
from cmd_daemon.kernel.records import Record

KEPT = 10_000
"""Events kept in memory; a reader further behind is served by the store."""

FOLLOW_S = 0.5
"""Seconds between two looks of a stand-by at what the leader has committed."""


class Feed:
    """Committed events in order. Readers come with the last sequence number they have seen and are
    never waited for: one that falls behind reads on from the store."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: deque[Record] = deque(maxlen=KEPT)
        self._more = asyncio.Event()
        self.last_seq = 0
        self.ended = False

    def end(self) -> None:
        """The daemon stops: all readers are woken and see `ended`."""
        self.ended = True
        self._more.set()

    def publish(self, records: Sequence[Record]) -> None:
        """Events that have just been committed, in order."""
        if not records:
            return
        self._kept.extend(records)
        self.reached(records[-1].seq)

    def reached(self, last_seq: int) -> None:
        """The history goes up to this event, by whomever it was committed."""
        if last_seq > self.last_seq:
            self.last_seq = last_seq
            self._more.set()
            self._more = asyncio.Event()

    async def follow(self) -> None:
        """While another daemon leads: tell readers what it has committed, until cancelled."""
        while True:
            with contextlib.suppress(ConnectionError):
                self.reached(await self._journal.last_seq())
            await asyncio.sleep(FOLLOW_S)

    async def after(self, seq: int, limit: int) -> Sequence[Record]:
        """Up to `limit` events after `seq`, without waiting; empty if there are none yet."""
        if seq >= self.last_seq:
            return ()
        if not self._kept or self._kept[0].seq > seq + 1:
            return await self._journal.events(seq, min(limit, 1000))
        skip = seq + 1 - self._kept[0].seq
        end = min(skip + limit, len(self._kept))
        return [self._kept[i] for i in range(skip, end)]

    async def wait(self, seq: int, timeout_s: float) -> bool:
        """Wait for an event after `seq`; False if none came in time."""
        if self.last_seq > seq:
            return True
        try:
            await asyncio.wait_for(self._more.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
