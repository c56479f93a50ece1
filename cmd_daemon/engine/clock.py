"""The daemon's only source of time."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits; tests bring their own."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""

    async def wait(self, seconds: float) -> None:
        """Return after that many seconds."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    async def wait(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)
