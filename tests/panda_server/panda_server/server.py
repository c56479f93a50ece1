"""The server as a test holds it: a thread with a plain and a TLS port on loopback."""

import asyncio
import json
import socket
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from panda_server import certificates
from panda_server.control import Control
from panda_server.local.pilots import LocalPilot
from panda_server.messages import Messages
from panda_server.model.clock import Clock, naive_utc
from panda_server.model.pace import Pace
from panda_server.model.pilot import Pilot
from panda_server.model.world import World
from panda_server.store import Store
from panda_server.web.app import App
from panda_server.web.files import Files
from panda_server.web.identity import Issuer

# The key takes a while to make, and one does for all servers of a process without a state.
ISSUER = Issuer()
TICK_S = 0.05


def listening(port: int = 0) -> socket.socket:
    """A listening loopback socket; 0 takes a free port."""
    # asyncio sends small answers at once only on sockets that name the protocol.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(256)
    return sock


class PandaServer:
    """A contract server. `speed` 0 (the default) lets time stand still but for `advance`.

    Use it with `with` or `async with`; `stop` and `start` make an outage on the same ports.
    Hold `world.lock` to look into `world` while requests come in. With a `state` directory the
    world is kept there, and a server that is made on it later goes on with it."""

    def __init__(
        self,
        *,
        start: datetime | None = None,
        speed: float = 0.0,
        pace: Pace | None = None,
        state: Path | None = None,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="panda-server-")
        self.state = state or Path(self._home.name)
        self.state.mkdir(parents=True, exist_ok=True)
        self._store = Store(self.state / "world.sqlite") if state else None
        self.issuer = Issuer(self.state / "issuer.pem") if state else ISSUER
        self.world = World(self._clock(start, speed), pace)
        if self._store:
            self._store.load(self.world)
        self.app = App(self.world, self.issuer)
        self.app.committed = self._keep
        self.faults = self.app.faults
        self.messages = Messages()
        self.world.listeners.append(self.messages)
        self.app.places += [Control(self), Files(self.state / "jobs")]
        self._ports = ports
        self._tls = certificates.made(self.state / "tls")
        self._servers: list[uvicorn.Server] = []
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def _clock(self, start: datetime | None, speed: float) -> Clock:
        kept = self._store.time() if self._store else None
        return Clock(max(kept, start or naive_utc()) if kept else start, speed)

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
    def ca_file(self) -> Path:
        """The certificate of the authority behind the TLS port."""
        return self._tls[0]

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
        with self.world.lock:
            self.world.advance(seconds)
            self._keep()

    def run_locally(
        self,
        slots: int = 2,
        runner: tuple[str, ...] = ("bash", "-c"),
        env: dict[str, str] | None = None,
    ) -> LocalPilot:
        """Run jobs for real, so many at a time per queue, with iDDS' agents at work."""
        pilot = LocalPilot(self.state, slots, runner, env)
        with self.world.lock:
            pilot.rules = self.world.pilot.rules
            self.world.pilot = pilot
            self.world.idds_agents = True
        return pilot

    def use(self, world: World) -> None:
        """Go on with another world."""
        self.world = self.app.world = world

    def ledger(self) -> list[dict[str, Any]]:
        """Each execution that was begun: task, input, attempt, PandaID, moment."""
        file = self.state / "ledger.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    # ---- running

    def start(self) -> None:
        """Listen; returns when requests are answered."""
        sockets = [listening(port) for port in self._ports]
        self._ports = (sockets[0].getsockname()[1], sockets[1].getsockname()[1])
        self.world.url = self.url
        plain = {"log_level": "warning", "lifespan": "off", "proxy_headers": False}
        tls = plain | {"ssl_certfile": self._tls[1], "ssl_keyfile": self._tls[2]}
        self._servers = [
            uvicorn.Server(uvicorn.Config(self.app, timeout_graceful_shutdown=1, **settings))
            for settings in (plain, tls)
        ]
        up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sockets, up), daemon=True)
        self._thread.start()
        if not up.wait(60):
            raise RuntimeError("the contract server did not start within a minute")
        self._over = threading.Event()
        threading.Thread(target=self._tick, args=(self._over,), daemon=True).start()

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
        while not over.wait(TICK_S):
            with self.world.lock:
                self.world.run_due()
                self.world.pilot.look(self.world)
                self._keep()

    def _keep(self) -> None:
        if self._store:
            self._store.save(self.world)
        else:
            self.world.touched.clear()

    def stop(self) -> None:
        """Close the ports; the world stays."""
        self._over.set()
        for server in self._servers:
            server.should_exit = True
        if self._thread:
            self._thread.join(60)
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
        self.messages.close()
        if self._store:
            self._store.close()
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
