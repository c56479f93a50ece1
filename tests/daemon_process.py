"""A real `cmd-daemon` process with a configuration, a state directory and a ledger of its own."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from history import all_events, check_counters, check_unbroken

from cm_client import Client
from cmd_daemon.__main__ import main
from cmd_daemon.kernel.records import Record
from cmd_daemon.store import Store

DEADLINE_S = 60.0

CONFIG = """\
[daemon]
state_dir = "{root}/state"
socket = "{socket}"
database = "{database}"
plugins = ["local", "facility", "fakes"]
log_format = "console"

[facility.USDF]
slots = {slots}
memory = "8 GB"
cores = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "local", collect = "null" }}

[facility.USDF.settings.local]
slots = {slots}
env = {{ LEDGER = "{root}/ledger" }}

[facility.USDF.settings.fake]
poll_s = 0.05
world = "{root}/world"
"""

CAMPAIGN = """\
campaign: crash
owner: me
stack: w1
butler: {{repo: demo, inputs: [a], output: u/me/crash}}
facilities: [USDF]
defaults:
  retry: {{attempts: 3, backoff: 1 s}}
steps:
  one:
    split: {{by: tract, ranges: ["1..{groups}"]}}
    before: [{{script: "{script}"}}]
    pipeline: x.yaml#a
    then: [{{script: "{script}"}}]
  two:
    after: [one]
    pipeline: x.yaml#b
    then: [{{script: "{script}"}}]
"""

SCRIPT = "echo begins $CMD_KEY\\necho $CMD_KEY >> $LEDGER\\n"


def until(true: Callable[[], Any], what: str = "it", deadline_s: float = DEADLINE_S) -> Any:
    """Poll until it holds; fails after the deadline. What it came to."""
    end = time.monotonic() + deadline_s
    while not (seen := true()):
        assert time.monotonic() < end, f"{what} never came to be"
        time.sleep(0.02)
    return seen


class DaemonProcess:
    """One daemon's home, and the process that runs there now.

    `database` is a URL; without one the database is an SQLite file. `name` tells daemons of one home apart.
    """

    program: tuple[str, ...] = ("-m", "cmd_daemon")

    def __init__(self, root: Path, slots: int = 4, database: str = "", name: str = "cmd") -> None:
        self.root = root
        self.socket = root / f"{name}.sock"
        self.target = f"unix:{self.socket}"
        self.database = database or f"sqlite+aiosqlite:///{root}/state/cmd.db"
        self.config = root / f"{name}.toml"
        text = CONFIG.format(root=root, slots=slots, socket=self.socket, database=self.database)
        self.config.write_text(text)
        self.process: subprocess.Popen[bytes] | None = None
        self._log = root / f"{name}.log"

    def add(self, text: str) -> None:
        """Add a section to its configuration."""
        self.config.write_text(f"{self.config.read_text()}\n{text}")

    def start(self, failpoint: str = "", ready: bool = True) -> None:
        """Start it; with `ready` wait until it serves. `failpoint` is for CMD_FAILPOINT."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, "run", "-c", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "CMD_FAILPOINT": failpoint},
            )
        if ready:
            until(lambda: self.serves() or self.dead(), "a daemon that serves")

    def serves(self) -> bool:
        """Whether somebody listens on its socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def dead(self) -> bool:
        """Whether the process has ended."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        # Its socket may answer for a moment more, and would be taken for the next daemon's.
        until(lambda: not self.serves(), "the end of the socket")

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        assert self.process is not None
        return self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def command(self, *words: str, code: int = 0) -> str:
        """Run a command of `cmd-daemon` with its configuration; what it printed."""
        done = CliRunner().invoke(main, [words[0], "-c", str(self.config), *words[1:]])
        assert done.exit_code == code, done.output
        return done.output

    def client(self) -> Client:
        """A new client."""
        return Client(self.target, actor="tester")

    def apply(self, groups: int, script: str = SCRIPT, start: bool = True) -> None:
        """Apply the campaign `crash`."""
        text = CAMPAIGN.format(groups=groups, script=script)
        with self.client() as client:
            client.apply_campaign(text, start=start)

    def state(self) -> str:
        """The state of the campaign `crash`; "" while nobody answers."""
        with contextlib.suppress(Exception), self.client() as client:
            campaign = client.within(2.0).get_campaign("campaigns/crash")
            return type(campaign).State.Name(campaign.state).removeprefix("STATE_")
        return ""

    def ledger(self) -> Counter[str]:
        """How often each attempt of each script job really ran, by its own word."""
        file = self.root / "ledger"
        return Counter(file.read_text().split()) if file.exists() else Counter()

    def supervised(self) -> Counter[str]:
        """The same by the word of the local driver's supervisors."""
        file = self.root / "state" / "local" / "USDF" / "ledger"
        return Counter(file.read_text().splitlines()) if file.exists() else Counter()

    def log(self) -> str:
        """What the daemons have said so far."""
        return self._log.read_text()

    def history(self) -> list[Record]:
        """The history, after the daemon has ended; fails unless history and counters are whole."""

        async def read() -> list[Record]:
            store = await Store.open(self.database, clock=lambda: 0, migrate=False)
            try:
                records = await all_events(store)
                check_unbroken(records)
                await check_counters(store, "crash")
                return records
            finally:
                await store.close()

        return asyncio.run(read())

    def end(self) -> None:
        """Leave nothing running."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        mark = f"CMD_ATTEMPT_DIR={self.root}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if mark in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
