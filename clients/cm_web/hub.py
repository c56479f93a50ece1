"""One watch of the daemon for all browsers: which pages have changed, and since when.

A topic is a resource name: `campaigns/DRP1` and every name below it, `facilities/USDF`; beside
them `campaigns`, `facilities` and `events` for any of their kind. An event marks its entity, what
is above it and its facility. Marks are told in ticks, at most one each `TICK_S`: a campaign that
commits a thousand events a second is one change of its page.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator

from cmd_api.v1.event_pb2 import Event

from cm_client import AsyncClient, CmError, HistoryGone

TICK_S = 0.4
"""Seconds between two ticks at least."""

REMEMBERED = 5000
"""Topics whose last change is remembered; of others it is only known that they are no newer."""

TRY_AGAIN_S = 1.0


class Listener:
    """One page in a browser. Whatever happens meanwhile, only one change can be pending."""

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Something on this page is new."""
        self._changed.set()

    async def next(self, seconds: float) -> bool:
        """Wait for news; False if there was none for so many seconds."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class Hub:
    """Watches all events from `run` on. `problem` says why there is no daemon, empty if there is one."""

    def __init__(self, client: AsyncClient) -> None:
        self.problem = ""
        self.watches = 0
        """Watches begun: one, and one more after each history that was gone."""
        self._client = client
        self._listeners: set[Listener] = set()
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0
        self._tick = 0
        self._marked: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Watch and tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._tell())

    async def _watch(self) -> None:
        while True:
            self.watches += 1
            try:
                async for batch in self._client.watch_events(on_lost=self._lost):
                    self._heard()
                    for event in batch.events:
                        self.mark(topics_of(event))
            except HistoryGone:
                self._everything()
            except CmError as error:
                self._lost(error, TRY_AGAIN_S)
                await asyncio.sleep(TRY_AGAIN_S)

    def _lost(self, error: CmError, wait: float) -> None:
        if not self.problem:
            self.problem = error.message
            self._everything()

    def _heard(self) -> None:
        if self.problem:
            self.problem = ""
            self._everything()

    def _everything(self) -> None:
        """All pages are new: the daemon went or came back."""
        self._versions.clear()
        self._tick += 1
        self._forgotten = self._tick
        for listener in self._listeners:
            listener.tell()

    def mark(self, topics: Iterable[str]) -> None:
        """These topics have changed; told with the next tick."""
        self._marked.update(topics)
        self._wake.set()

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            marked, self._marked = self._marked, set()
            self._tick += 1
            for topic in marked:
                self._versions[topic] = self._tick
                self._versions.move_to_end(topic)
            while len(self._versions) > REMEMBERED:
                self._forgotten = max(self._forgotten, self._versions.popitem(last=False)[1])
            for listener in self._listeners:
                if not listener.topics.isdisjoint(marked):
                    listener.tell()
            await asyncio.sleep(TICK_S)

    def version(self, topics: Iterable[str]) -> int:
        """A number that is another one after the next change of any of the topics."""
        return max((self._versions.get(topic, self._forgotten) for topic in topics), default=0)

    @contextlib.contextmanager
    def listening(self, topics: Iterable[str]) -> Iterator[Listener]:
        """A listener to these topics, until the block ends."""
        listener = Listener(frozenset(topics))
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def messages(self, topics: Iterable[str], beat_s: float) -> AsyncIterator[str]:
        """`changed`, `lost` or `beat`, for one browser, for ever; what holds at once comes first."""
        with self.listening(topics) as listener:
            yield "lost" if self.problem else "beat"
            while True:
                told = await listener.next(beat_s)
                yield "lost" if self.problem else "changed" if told else "beat"


def topics_of(event: Event) -> set[str]:
    """What an event changes: its entity, what is above it, and its facility."""
    parts = event.name.split("/")
    topics = {"events", parts[0]}
    topics.update("/".join(parts[:end]) for end in range(2, len(parts) + 1, 2))
    if event.facility:
        topics |= {"facilities", f"facilities/{event.facility.removeprefix('facilities/')}"}
    return topics
