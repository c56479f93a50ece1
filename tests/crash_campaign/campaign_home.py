"""Where a daemon of the crash campaign lives: it is killed and started again in a fraction of a second, and
its clock can be made wrong."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import campaign_paths  # noqa: F401
from daemon_process import DaemonProcess, until
from services.databases import Server


class Home(DaemonProcess):
    """The home of one daemon, whose processes a nursery forks. Made with a short `root`, ended with
    `close`."""

    plugins: tuple[str, ...] = ("local", "facility", "housekeeping", "fakes")
    """Imported once, by the nursery."""

    facilities: tuple[str, ...] = ()
    """Each with a fake world of its own."""

    def __init__(self, root: Path, postgres: Server | None) -> None:
        self.postgres = postgres
        super().__init__(root, database=postgres.fresh() if postgres else "")
        self._clock = root / "clock"
        self.ahead = 0.0
        self.pid = 0
        self._codes: dict[int, int] = {}
        self._told: queue.Queue[dict[str, int]] = queue.Queue()
        self._nursery = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("campaign_nursery.py")),
                str(self._clock),
                *self.plugins,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environ(),
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def environ(self) -> dict[str, str]:
        """The environment of the daemons."""
        return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def configure(self, slow_s: float = 0.0) -> None:
        """Write the configuration of the next daemon, whose fake drivers take `slow_s` for each call."""
        raise NotImplementedError

    def _listen(self) -> None:
        assert self._nursery.stdout is not None
        for line in self._nursery.stdout:
            told = json.loads(line)
            if "code" in told:
                self._codes[told["pid"]] = told["code"]
            else:
                self._told.put(told)

    def start(self, failpoint: str = "", ready: bool = True) -> None:
        """Start a daemon in the place of the one that has ended; see `DaemonProcess.start`."""
        assert self._nursery.stdin is not None
        # The socket of a killed process may be answered for a moment more.
        until(lambda: not self.serves(), "the end of the former daemon's socket")
        order = {"config": str(self.config), "log": str(self._log), "failpoint": failpoint}
        self._nursery.stdin.write(json.dumps(order).encode() + b"\n")
        self._nursery.stdin.flush()
        self.pid = self._told.get(timeout=60)["pid"]
        if ready:
            until(lambda: self.serves() or self.dead(), "a daemon that serves")

    def dead(self) -> bool:
        """Whether the daemon has ended."""
        return not self.pid or self.pid in self._codes

    @property
    def code(self) -> int:
        """The exit code of the daemon that has ended."""
        return self._codes[self.pid]

    def signal(self, number: int) -> None:
        """Send a signal to the daemon, if it lives."""
        if not self.dead():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.signal(signal.SIGKILL)
        until(self.dead, "the daemon's death")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        until(self.dead, f"the daemon's end; log:\n{self.log()[-3000:]}")
        return self.code

    def freeze(self) -> None:
        """SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def jump(self, seconds: float) -> None:
        """Let the daemon's clock be wrong by that much, from now on."""
        self.ahead = max(self.ahead, seconds)
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.replace(self._clock)
        self.signal(signal.SIGUSR2)

    def world(self, facility: str) -> list[dict[str, Any]]:
        """What happened in the fake world there, in order."""
        file = self.root / f"world-{facility}"
        lines = file.read_text().splitlines() if file.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    @property
    def ledgers(self) -> dict[str, Counter[str]]:
        """How often each attempt really ran, by each outside's own word: here the fake worlds'."""
        return {
            f"fake at {name}": Counter(e["key"] for e in self.world(name) if e["what"] == "run")
            for name in self.facilities
        }

    def close(self) -> None:
        """Leave nothing behind but the folder."""
        self.thaw()
        self.kill()
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        self._nursery.wait()
        self.end()
