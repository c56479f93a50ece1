"""What the programs that run the examples share: the daemon as a process, the CLI, the Rubin stack.

Used by `run.py` beside it and by those of other examples. Everything an example makes lies below its
working directory.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SKY = Path(__file__).parent / "sky"
PIPELINE = Path(__file__).parent / "pipeline"
RUBIN = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
BIN = Path(sys.executable).parent
START_S = 60.0
AWAY = 6
"""Exit status of `cm` when no daemon answers."""


class DemoFailed(Exception):
    """The example cannot go on; the message says why."""


class Kept:
    """A program that runs in the background and is started again whenever it dies.

    `name` is how people know it; `marks` a word of its command line, by which one that an earlier run
    left is known from a stranger with its process id. It starts again after `pause_s` seconds.
    """

    def __init__(
        self, name: str, argv: list[str | Path], work: Path, marks: str, pause_s: float = 0.0
    ) -> None:
        self._name = name
        self._argv = argv
        self._marks = marks.encode()
        self._pause_s = pause_s
        self._log = work / f"{name}.log"
        self._pid_file = work / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    def start(self) -> None:
        """Start it (after ending one that an earlier run left), and keep it alive."""
        self.end_former()
        self._spawn()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; this one is told by SIGTERM
            )
        self._pid_file.write_text(str(self._process.pid))

    def _keep(self) -> None:
        while self._process is not None:
            status = self._process.wait()
            if self._stopping.is_set():
                return
            if status == 1:
                print(f"the {self._name} does not start; see {self._log}", file=sys.stderr)
                return
            print(f"the {self._name} died (status {status}); it is started again", flush=True)
            if self._stopping.wait(self._pause_s):
                return
            self._spawn()

    @property
    def pid(self) -> int:
        """Its process, once it was started."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it, if it was started."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._pid_file.unlink(missing_ok=True)

    def end_former(self) -> None:
        """End one that an earlier run left, if there is one."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            if self._marks not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.1)


def kept_daemon(work: Path, name: str = "daemon") -> Kept:
    """The daemon with the configuration `cmd-daemon.toml` of this directory; its log is `daemon.log`
    there, and so with another name. Jobs that run when it ends go on and are found again by the next one."""
    argv = [BIN / "cmd-daemon", "run", "--config", work / f"cmd-{name}.toml"]
    return Kept(name, argv, work, "cmd-daemon")


class Client:
    """The CLI `cm`, told where the example's daemon listens."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix:{socket}"
        self._socket = socket

    def run(
        self, *words: str, capture: bool = False, quiet: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """One command. With `quiet` its complaints are not shown."""
        return subprocess.run(
            [BIN / "cm", "--address", self.address, *words],
            check=False,
            text=True,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.DEVNULL if quiet else None,
        )

    def told(self, *words: str, quiet: bool = False) -> Any:
        """What a command prints as JSON; None if it fails."""
        shown = self.run(*words, "--json", capture=True, quiet=quiet)
        return json.loads(shown.stdout) if shown.returncode == 0 else None

    def wait(self) -> None:
        """Return once the daemon answers. Raises DemoFailed."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._socket.exists() and self.run("daemon", "--json", capture=True).returncode == 0:
                return
            time.sleep(0.2)
        raise DemoFailed(f"the daemon did not answer within {START_S:.0f} s; see its log")

    def patient(self, *words: str) -> int:
        """One command, again if the daemon was away just then; its exit status. Raises DemoFailed."""
        while (status := self.run(*words).returncode) == AWAY:
            self.wait()
        return status

    def fate(self, campaign: str) -> str:
        """The state of a campaign, "" if there is none."""
        for found in self.told("list") or []:
            if found["name"] == f"campaigns/{campaign}":
                return str(found["state"]).removeprefix("STATE_")
        return ""


def rubin(*words: str | Path) -> None:
    """Run a program in the Rubin stack. Raises DemoFailed if it fails."""
    env = {**os.environ, "DEMO_PIPE_DIR": str(PIPELINE), "PYTHONPATH": str(PIPELINE)}
    done = subprocess.run([RUBIN, *words], check=False, env=env)
    if done.returncode != 0:
        raise DemoFailed(f"{Path(words[0]).name} ended with status {done.returncode}")


def socket_in(work: Path, mark: str = "") -> Path:
    """The path of a daemon's socket: short by nature, hence not always in the directory."""
    socket = work / f"cmd{mark}.sock"
    if len(str(socket)) > 100:
        return Path("/tmp") / f"cmd-demo-{os.getuid()}-{zlib.crc32(bytes(work))}{mark}.sock"
    return socket


def say(words: str) -> None:
    """A headline of the example's own."""
    print(f"\n== {words}", flush=True)


def ended(what: str, action: Callable[[], int]) -> int:
    """Run an example; its exit status, with words for a person where it did not come to its end."""
    if not RUBIN.exists():
        print(f"the Rubin stack is not there ({RUBIN}): run `make rubin`", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return action()
    except DemoFailed as error:
        print(f"\nthe {what} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run it again to go on", file=sys.stderr)
        return 130
