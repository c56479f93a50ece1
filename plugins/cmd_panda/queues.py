"""The queues of one PanDA server as they are just now: one question for all facilities."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cmd_panda.records import QueueLoad, QueueSpec
from cmd_panda.server import PandaServer

REMEMBERED_S = 55.0
"""For how long one answer serves the looks at all facilities. PanDA's own figures are a minute old."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at: int
    specs: dict[str, QueueSpec]
    loads: dict[str, QueueLoad]


class QueueBoard:
    """What the server says about its queues. Methods raise PandaFault."""

    def __init__(self, server: PandaServer, now: Callable[[], int]) -> None:
        self._server = server
        self._now = now
        self._seen: _Seen | None = None
        self._asking = asyncio.Lock()

    async def specs(self) -> dict[str, QueueSpec]:
        """The queues by name."""
        return (await self._fresh()).specs

    async def loads(self) -> dict[str, QueueLoad]:
        """Their jobs by name; none for a queue where nothing is."""
        return (await self._fresh()).loads

    async def _fresh(self) -> _Seen:
        async with self._asking:  # whoever looks meanwhile shares the answer
            now = self._now()
            if self._seen is None or now - self._seen.at >= REMEMBERED_S * 1e6:
                specs, loads = await asyncio.gather(self._server.queues(), self._server.loads())
                self._seen = _Seen(now, specs, loads)
            return self._seen
