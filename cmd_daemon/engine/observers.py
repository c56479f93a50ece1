"""Observers: plugins that are told of committed events, each from a bounded queue of its own."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from cmd_daemon.engine.containment import contained
from cmd_daemon.hooks.ports import CommittedEvent, EventObserver, NexusEntry, NexusObserver
from cmd_daemon.kernel.records import Record
from cmd_daemon.observe.metrics import observer_dropped

log = structlog.get_logger()

QUEUE = 50_000
SET_SIZE = 1000
OBSERVE_S = 60.0


class Observers:
    """Passes committed events on. A slow observer loses the oldest events, never holds up the engine."""

    def __init__(self, observers: Sequence[EventObserver]) -> None:
        self._observers = observers
        self._queues: list[deque[Record | NexusEntry]] = [deque(maxlen=QUEUE) for _ in observers]
        self._arrived = [asyncio.Event() for _ in observers]

    def publish(self, records: Sequence[Record]) -> None:
        """Committed events, in order."""
        for index in range(len(self._observers)):
            self._put(index, records)

    def publish_nexus(self, entries: Sequence[NexusEntry]) -> None:
        """The nexus log of the events published last."""
        for index, observer in enumerate(self._observers):
            if entries and isinstance(observer, NexusObserver):
                self._put(index, entries)

    def _put(self, index: int, told: Sequence[Record | NexusEntry]) -> None:
        queue = self._queues[index]
        dropped = len(queue) + len(told) - QUEUE
        if dropped > 0:
            observer_dropped.labels(self._observers[index].name).inc(dropped)
        queue.extend(told)
        self._arrived[index].set()

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """The endless tasks that serve the observers."""
        return [self._serve(index) for index in range(len(self._observers))]

    async def _serve(self, index: int) -> None:
        observer, queue, arrived = self._observers[index], self._queues[index], self._arrived[index]
        while True:
            await arrived.wait()
            arrived.clear()
            while queue:
                batch = [queue.popleft() for _ in range(min(len(queue), SET_SIZE))]
                events = [_shown(each) for each in batch if isinstance(each, Record)]
                entries = [each for each in batch if isinstance(each, NexusEntry)]
                try:
                    if events:
                        await contained(observer.observe(events), OBSERVE_S)
                    if entries and isinstance(observer, NexusObserver):
                        await contained(observer.observe_nexus(entries), OBSERVE_S)
                except Exception:
                    log.exception("an observer failed", observer=observer.name, events=len(batch))


def _shown(record: Record) -> CommittedEvent:
    return CommittedEvent(
        seq=record.seq,
        at=record.at,
        entity=record.name,
        kind=record.kind,
        from_state=record.from_state,
        to_state=record.to_state,
        cause=record.cause,
        actor=record.actor,
        reason=record.reason,
        facility=record.facility,
    )
