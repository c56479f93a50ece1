"""The server as a test holds it: a thread with a plain and a TLS port on loopback."""

import asyncio
import socket
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from types import TracebackType

import uvicorn

from panda_server import certificates
from panda_server.model.clock import Clock
from panda_server.model.pace import Pace
from panda_server.model.pilot import Pilot
from panda_server.model.world import World
from panda_server.web.app import App
from panda_server.web.identity import Issuer

# The key takes a while to make, and one does for all servers of a process.
ISSUER = Issuer()


def listening(port: int = 0) -> socket.socket:
    """A listening loopback socket; 0 takes a free port."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(256)
    return sock


class PandaServer:
    """A contract server. `speed` 0 (the default) lets time stand still but for `advance`.

    Use it with `with` or `async with`; `stop` and `start` make an outage on the same ports.
    Hold `world.lock` to look into `world` while requests come in."""

    def __init__(
        self,
        *,
        start: datetime | None = None,
        speed: float = 0.0,
        pace: Pace | None = None,
        issuer: Issuer | None = None,
        world: World | None = None,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        self.world = world or World(Clock(start, speed), pace)
        self.issuer = issuer or ISSUER
        self.app = App(self.world, self.issuer)
        self._ports = ports
        self._home = tempfile.TemporaryDirectory(prefix="panda-server-")
        made = certificates.make(Path(self._home.name))
        self.ca_file, self._cert_file, self._key_file = made
        self._servers: list[uvicorn.Server] = []
        self._thread: threading.Thread | None = None
        self._ticking: threading.Event | None = None

    # ---- addresses and identity

    @property
    def url(self) -> str:
        """The plain address, without a path."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def tls_url(self) -> str:
        """The address with TLS; `ca_file` vouches for it."""
        return f"https://localhost:{self._ports[1]}"

    @property
    def pilot(self) -> Pilot:
        """What decides how jobs end."""
        return self.world.pilot

    def user_token(self) -> str:
        """Of Test User, without a role: send it with `Origin: Rubin`."""
        return self.issuer.user(self.world.clock)

    def production_token(self, lifetime_s: float = 14 * 86400) -> str:
        """Of the same person with the role: send it with `Origin: Rubin:production`."""
        return self.issuer.production(self.world.clock, lifetime_s)

    def advance(self, seconds: float) -> None:
        """Move the model's time, and let happen what falls into it."""
        self.world.advance(seconds)

    def use(self, world: World) -> None:
        """Go on with another world."""
        self.world = self.app.world = world

    # ---- running

    def start(self) -> None:
        """Listen; returns when requests are answered."""
        sockets = [listening(port) for port in self._ports]
        self._ports = (sockets[0].getsockname()[1], sockets[1].getsockname()[1])
        self.world.url = self.world.url or self.url
        plain = {"log_level": "warning", "lifespan": "off", "proxy_headers": False}
        tls = plain | {"ssl_certfile": self._cert_file, "ssl_keyfile": self._key_file}
        self._servers = [
            uvicorn.Server(uvicorn.Config(self.app, timeout_graceful_shutdown=1, **settings))
            for settings in (plain, tls)
        ]
        up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, up), daemon=True)
        self._thread.start()
        if not up.wait(30):
            raise RuntimeError("the contract server did not start within 30 s")
        if self.world.clock.speed:
            self._ticking = threading.Event()
            threading.Thread(target=self._tick, args=(self._ticking,), daemon=True).start()

    def _run(self, sockets: list[socket.socket], up: threading.Event) -> None:
        async def main() -> None:
            serving = [
                asyncio.create_task(server.serve(sockets=[sock]))
                for server, sock in zip(self._servers, sockets, strict=True)
            ]
            while not all(server.started for server in self._servers):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.005)
            up.set()
            await asyncio.gather(*serving)

        asyncio.run(main())

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(0.05):
            with self.world.lock:
                self.world.run_due()

    def stop(self) -> None:
        """Close the ports; the world stays."""
        if self._ticking:
            self._ticking.set()
        for server in self._servers:
            server.should_exit = True
        if self._thread:
            self._thread.join(30)
        self._servers, self._thread = [], None

    def __enter__(self) -> "PandaServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._home.cleanup()

    async def __aenter__(self) -> "PandaServer":
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)
