"""A TCP proxy on loopback that can cut, or lose, what goes through it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK = 65536


class Proxy:
    """Passes bytes on to a port of this machine until it is told otherwise.

    `lose_answers` drops what the server says; `closed` refuses new connections. `cut` breaks those
    that are open.
    """

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self.lose_answers = False
        self.closed = False
        self.heard = 0
        """Bytes that the server was sent so far."""
        self.lost = asyncio.Event()
        """Set when an answer has been lost."""
        self._to_port = to_port
        self._open: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            writer.transport.abort()
            return
        self._open.add(writer)
        with contextlib.suppress(OSError):
            back, forth = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._open.add(forth)
            await asyncio.gather(self._ask(reader, forth), self._answer(back, writer))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                self.heard += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.lose_answers:
                    self.lost.set()
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()
