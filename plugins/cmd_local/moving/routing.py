"""The carrier of a daemon with facilities on several machines.

Files of a facility that is on the daemon's own machine are read and written directly, others through
a server of ours there. A facility whose connection was lost is asked again for a while: every
operation may be repeated, so the sending goes on where it was.
"""

import asyncio
from typing import Any

from cmd_daemon.hooks import ErrorClass, Host
from cmd_local.moving.carrier import Corrupted, SameMachineCarrier
from cmd_local.moving.file_client import FileServers, Unreachable
from cmd_local.transport import NAME as HERE

AGAIN_S = 0.5
"""Seconds between two tries to reach a facility."""


class RoutingCarrier:
    """See `Carrier`. `patience_s` is how long a facility that cannot be reached is asked again."""

    def __init__(self, host: Host, patience_s: float) -> None:
        self._host = host
        self._patience_s = patience_s
        self._here = SameMachineCarrier()
        self._servers = FileServers.of(host)

    def _is_here(self, facility: str) -> bool:
        try:
            return self._host.facility(facility).transport == HERE
        except KeyError:
            raise OSError(f"there is no facility '{facility}' in the configuration") from None

    async def _ask(self, facility: str, op: str, data: bytes = b"", **fields: Any) -> Any:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._patience_s
        while True:
            try:
                result, blob = await self._servers.at(facility, self).ask(op, data, **fields)
                return blob if op == "read" else result
            except Unreachable as error:
                permanent = error.error_class is ErrorClass.PERMANENT
                if permanent or loop.time() + AGAIN_S > give_up_at:
                    raise
            await asyncio.sleep(AGAIN_S)

    async def size(self, facility: str, path: str) -> int | None:
        """See `Carrier`."""
        if self._is_here(facility):
            return await self._here.size(facility, path)
        size = await self._ask(facility, "size", path=path)
        return None if size is None else int(size)

    async def read(self, facility: str, path: str, offset: int, length: int) -> bytes:
        """See `Carrier`."""
        if self._is_here(facility):
            return await self._here.read(facility, path, offset, length)
        return bytes(await self._ask(facility, "read", path=path, offset=offset, length=length))

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        """See `Carrier`."""
        if self._is_here(facility):
            await self._here.write(facility, path, offset, data)
        else:
            await self._ask(facility, "write", data, path=path, offset=offset)

    async def finish(self, facility: str, part: str, path: str, size: int, sha256: str) -> None:
        """See `Carrier`."""
        if self._is_here(facility):
            await self._here.finish(facility, part, path, size, sha256)
            return
        wrong = await self._ask(facility, "finish", part=part, path=path, size=size, sha256=sha256)
        if wrong is not None:
            raise Corrupted(str(wrong))

    async def sha256(self, facility: str, path: str) -> str:
        """See `Carrier`."""
        if self._is_here(facility):
            return await self._here.sha256(facility, path)
        return str(await self._ask(facility, "sha256", path=path))

    async def remove(self, facility: str, path: str) -> None:
        """See `Carrier`."""
        if self._is_here(facility):
            await self._here.remove(facility, path)
        else:
            await self._ask(facility, "remove", path=path)

    async def release(self) -> None:
        """See `Carrier`."""
        await self._servers.let_go(self)
