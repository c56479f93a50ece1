"""Carriers between which and the disks something goes wrong."""

import asyncio
import errno

from cmd_local.moving.carrier import SameMachineCarrier


class CountingCarrier(SameMachineCarrier):
    """Counts the bytes it writes."""

    def __init__(self) -> None:
        self.written = 0

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        self.written += len(data)
        await super().write(facility, path, offset, data)


class CorruptingCarrier(CountingCarrier):
    """Changes a byte of the next `times` pieces it writes."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        if self.times > 0:
            self.times -= 1
            data = bytes([data[0] ^ 0xFF]) + data[1:]
        await super().write(facility, path, offset, data)


class StallingCarrier(CountingCarrier):
    """Stops for ever before the piece after the first `pieces`."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.stalled = asyncio.Event()

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        if self.pieces == 0:
            self.stalled.set()
            await asyncio.Event().wait()
        self.pieces -= 1
        await super().write(facility, path, offset, data)


class FullCarrier(SameMachineCarrier):
    """A facility's disk is full after so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refused = 0

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device", path)
        await super().write(facility, path, offset, data)
