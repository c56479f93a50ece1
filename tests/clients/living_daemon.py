"""A real daemon in a thread of the test's own process, so that tests can steer the fake world."""

import asyncio
import socket
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from client_setup import wait_until

from cmd_daemon.config import Config
from cmd_daemon.daemon import Daemon, build
from cmd_daemon.testing import FakeWorld


class LivingDaemon:
    """Runs from its making until `close`. Its facilities do every kind of job in a fake world."""

    def __init__(self, root: Path, *facilities: str) -> None:
        self.root = root
        self.socket = root / "cmd.sock"
        self.target = f"unix:{self.socket}"
        self._config = Config.model_validate(_config(root, facilities))
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._daemon: Daemon | None = None
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        wait_until(lambda: self._listens() or not self._thread.is_alive())
        assert self._thread.is_alive(), "the daemon has ended"

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            self._daemon = await build(self._config, stack)
            await self._daemon.run(self._stop)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def world(self, facility: str) -> FakeWorld:
        """The fake world at a facility. Behaviours may be put in from any thread."""
        assert self._daemon is not None
        driver: Any = self._daemon.engine.lanes.lanes[facility, "fake"].driver
        world: FakeWorld = driver.world
        return world

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        self._loop.close()


KINDS = (
    "process", "script", "register", "transfer", "ingest", "collect", "bundle", "purge",
)  # fmt: skip


def _config(root: Path, facilities: tuple[str, ...]) -> dict[str, Any]:
    return {
        "daemon": {
            "state_dir": root / "state",
            "socket": root / "cmd.sock",
            "plugins": ["local", "facility", "fakes"],
        },
        "facility": {
            name: {
                "slots": 50,
                "memory": "8 GB",
                "cores": 4,
                "butlers": {"demo": "/none"},
                "stacks": {"w1": "/usr/bin/python3"},
                "drivers": dict.fromkeys(KINDS, "fake"),
                "settings": {"fake": {"poll_s": 0.05}},
            }
            for name in facilities
        },
    }
