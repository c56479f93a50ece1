"""An example as its users run it: a process, its output, its daemon and the CLI."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CM = Path(sys.executable).parent / "cm"


class Demo:
    """One run of an example as a process, with its output in a file."""

    def __init__(
        self,
        work: Path,
        output: Path,
        *words: str,
        program: str = "demo",
        patience_s: float = 240.0,
    ) -> None:
        self.work = work
        self.output = output
        self.campaign = program
        self.patience_s = patience_s
        with output.open("ab") as sink:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    ROOT / "examples" / program / "run.py",
                    *("--small", "--workdir", work, *words),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        """What it has said so far."""
        return self.output.read_text()

    def wait_for(self, seen: Callable[[], bool], what: str) -> None:
        """Return once `seen` is true; fail if the demo ends or it takes too long."""
        deadline = time.monotonic() + self.patience_s
        while not seen():
            assert self.process.poll() is None, f"the demo ended before {what}:\n{self.text()}"
            assert time.monotonic() < deadline, f"no {what} in time:\n{self.text()}"
            time.sleep(0.05)

    def end(self) -> int:
        """Wait for its end; its exit status."""
        return self.process.wait(self.patience_s)

    def stop(self) -> None:
        """Leave nothing behind."""
        for pid in (self.process.pid, self.daemon()):
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def daemon(self) -> int | None:
        """The daemon's process id while it runs."""
        try:
            pid = int((self.work / "daemon.pid").read_text())
        except (OSError, ValueError):
            return None
        alive = Path(f"/proc/{pid}/cmdline")
        return pid if alive.exists() and b"cmd-daemon" in alive.read_bytes() else None

    def cm(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Ask the demo's daemon through the CLI."""
        config = (self.work / "cmd-daemon.toml").read_text()
        found = re.search(r'socket = "(.*)"', config)
        assert found is not None
        return subprocess.run(
            [CM, "--address", f"unix:{found[1]}", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self, *words: str) -> Any:
        """What a command of the CLI answers with `--json`; None while the daemon does not answer."""
        if not (self.work / "cmd-daemon.toml").exists():
            return None
        shown = self.cm(*words, "--json")
        return json.loads(shown.stdout) if shown.returncode == 0 else None

    def groups(self, state: str, step: str = "") -> set[str]:
        """The groups of the campaign, or of a step, that are in this state, as STEP/GROUP; none while
        the daemon does not answer."""
        found = self.told("groups", f"{self.campaign}/{step}".rstrip("/")) or []
        return {
            "/".join(group["name"].split("/")[3::2])
            for group in found
            if group["state"] == f"STATE_{state}"
        }

    def kill_daemon(self) -> None:
        """SIGKILL to the daemon; returns once another one runs."""
        self.wait_for(lambda: self.daemon() is not None, "a daemon")
        pid = self.daemon()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.wait_for(lambda: self.daemon() not in (None, pid), "another daemon")
