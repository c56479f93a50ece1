"""What a round of the crash campaign takes place in: two facilities, a daemon that is killed again and
again, and a clock, a disk and a database that can be made to fail."""

import contextlib
import ctypes
import errno
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import campaign_paths  # noqa: F401
from daemon_process import DaemonProcess, until
from far_machine import FarMachine
from services.databases import Server

DISK_BYTES = 64 * 1024**2
DURABLE = ("fsync=off", "full_page_writes=off", "max_connections=150")
"""What PostgreSQL has committed outlives its immediate stop; a power cut is not tried."""

CONFIG = """\
[daemon]
state_dir = "{root}/state"
socket = "{socket}"
database = "{database}"
plugins = ["local", "facility", "housekeeping", "fakes"]
log_format = "console"
probe_s = 1.0

[facility.USDF]
slots = 8
memory = "8 GB"
cores = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "local", collect = "null" }}

[facility.USDF.settings.local]
slots = 8
work_dir = "{root}/local"
grace_s = 0.2
env = {{ LEDGER = "{root}/ledger" }}

[facility.USDF.settings.fake]
poll_s = 0.05
slow_s = {slow_s}
world = "{root}/world-USDF"

[facility.FAR]
slots = 4
memory = "8 GB"
cores = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "ssh", collect = "null" }}

[facility.FAR.settings.fake]
poll_s = 0.05
slow_s = {slow_s}
world = "{root}/world-FAR"

[facility.FAR.settings.ssh]
host = "127.0.0.1"
port = {port}
user = "{user}"
known_hosts = "{root}/known_hosts"
key = "{root}/client_key"
work_dir = "{root}/far"
grace_s = 0.2
poll_s = 0.2
backoff_s = 0.05
backoff_max_s = 0.5
connect_s = 5.0
call_s = 10.0
env = {{ LEDGER = "{root}/ledger" }}
"""


class Site(DaemonProcess):
    """One home with all that is around it. Made with a short `root`; `close` leaves nothing."""

    def __init__(self, root: Path, postgres: Server | None) -> None:
        self.postgres = postgres
        super().__init__(root, database=postgres.fresh() if postgres else "")
        self.far = FarMachine(root)
        self.far.start()
        self.configure()
        self.disk = postgres is None and _small_disk(root / "state")
        self._clock = root / "clock"
        self.behind = self.ahead = 0.0
        self.pid = 0
        self._codes: dict[int, int] = {}
        self._told: queue.Queue[dict[str, int]] = queue.Queue()
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._nursery = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("campaign_nursery.py")),
                str(self._clock),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def configure(self, slow_s: float = 0.0) -> None:
        """Write the configuration of the next daemon, whose fake drivers take `slow_s` for each call."""
        text = CONFIG.format(
            root=self.root,
            socket=self.socket,
            database=self.database,
            slow_s=slow_s,
            port=self.far.port,
            user=self.far.user,
        )
        self.config.write_text(text)

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

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """No room is left on the disk of the state directory."""
        ballast = self.root / "state" / "ballast"
        with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(b"\0" * 65536)
        try:
            yield
        finally:
            ballast.unlink()

    @property
    def ledgers(self) -> dict[str, Counter[str]]:
        """How often each attempt really ran, by the word of each driver's outside."""
        found = {
            "local": _lines(self.root / "local" / "ledger"),
            "ssh": Counter(self.far.ledger()),
        }
        for facility in ("USDF", "FAR"):
            found[f"fake at {facility}"] = Counter(
                entry["key"] for entry in self.world(facility) if entry["what"] == "run"
            )
        return found

    def world(self, facility: str) -> list[dict[str, Any]]:
        """What happened in the fake world there, in order."""
        file = self.root / f"world-{facility}"
        lines = file.read_text().splitlines() if file.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def close(self) -> None:
        """Leave nothing behind but the folder."""
        self.thaw()
        self.kill()
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        self._nursery.wait()
        self.end()
        self.far.clear()
        if self.disk:
            subprocess.run(["umount", "--lazy", str(self.root / "state")], check=True)


def _lines(file: Path) -> Counter[str]:
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def _small_disk(place: Path) -> bool:
    """Mount a small file system there; False, and loudly so, where we may not."""
    place.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={DISK_BYTES}".encode()
    if libc.mount(b"crash", str(place).encode(), b"tmpfs", 0, options) == 0:
        return True
    reason = errno.errorcode.get(ctypes.get_errno(), "?")
    warnings.warn(f"NO SMALL DISK HERE ({reason}): a full disk is not tried", stacklevel=2)
    return False
