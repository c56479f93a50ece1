"""Answers kept for a moment, so that many browsers cost the daemon no more than one.

An answer is as old as its topics: it is asked for again after they changed. What takes long is not
asked for all the time, and what several ask for at once is asked for once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .hub import Hub

T = TypeVar("T")

KEPT = 200
"""Answers kept at most, the last used ones."""

SOON_S = 0.6

PAUSE, LONG_PAUSE = 1.0, 10.0
"""An answer that took a second is not asked for again for one; one that may take long, for ten."""


@dataclass(slots=True)
class _Kept(Generic[T]):
    answer: T
    version: int
    made: float
    took: float


class Memory:
    """Answers by a key; see above."""

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept[Any]] = OrderedDict()
        self._asked: dict[tuple[Hashable, int], asyncio.Task[Any]] = {}
        self._later: dict[tuple[str, ...], asyncio.TimerHandle] = {}

    async def get(
        self,
        key: Hashable,
        topics: Iterable[str],
        ask: Callable[[], Awaitable[T]],
        fresh_s: float = 1.0,
        pause: float = PAUSE,
    ) -> T:
        """The answer of `ask`, maybe a kept one: of this version of its topics and no older than
        `fresh_s`, or younger than `pause` times what it took. Whoever gets one of a former version is
        told by a change of its topics when there can be a new one."""
        topics = tuple(topics)
        version = self._hub.version(topics)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            age = self._clock() - kept.made
            if kept.version == version and age < fresh_s:
                return kept.answer  # type: ignore[no-any-return]
            rest = kept.took * pause - age
            if rest > 0:
                if kept.version != version:
                    self._tell_later(topics, rest)
                return kept.answer  # type: ignore[no-any-return]
        # What was asked before the change may not have it.
        asked = (key, version)
        task = self._asked.get(asked)
        if task is None:
            task = self._asked[asked] = asyncio.ensure_future(self._ask(key, version, ask))
            task.add_done_callback(lambda _: self._asked.pop(asked, None))
        # A browser that goes away must not take the answer from the others.
        answer: T = await asyncio.shield(task)
        return answer

    async def soon(
        self, key: Hashable, topics: Iterable[str], ask: Callable[[], Awaitable[T]]
    ) -> T | None:
        """The same for what may take long: None if it is not there within `SOON_S`; its topics change
        when it is."""
        topics = tuple(topics)
        task = asyncio.ensure_future(self.get(key, topics, ask, pause=LONG_PAUSE))
        done, _ = await asyncio.wait({task}, timeout=SOON_S)
        if done:
            return task.result()
        task.add_done_callback(lambda task: self._came(task, topics))
        return None

    def _came(self, task: asyncio.Task[Any], topics: tuple[str, ...]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._hub.mark(topics)

    async def _ask(self, key: Hashable, version: int, ask: Callable[[], Awaitable[T]]) -> T:
        began = self._clock()
        answer = await ask()
        ended = self._clock()
        kept = self._kept.get(key)
        if kept is None or kept.version <= version:
            self._kept[key] = _Kept(answer, version, ended, ended - began)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return answer

    def _tell_later(self, topics: tuple[str, ...], seconds: float) -> None:
        if topics in self._later:
            return

        def tell() -> None:
            del self._later[topics]
            self._hub.mark(topics)

        self._later[topics] = asyncio.get_running_loop().call_later(seconds, tell)
