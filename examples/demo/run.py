"""Runs the demo: makes the sky, starts a daemon, applies the campaign, watches it, checks the truth.

`python examples/demo/run.py [--small] [--workdir DIR]`, in the daemon's environment. Ctrl-C stops it and
harms nothing: the next run goes on with the same campaign. A daemon that dies is started again,
as systemd would. Exit status 0 if the campaign was ACCEPTED and agrees with the truth. With `--serve` it
only runs the daemon of a former run, to look around.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CAMPAIGN = "demo"
RUBIN = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
BIN = Path(sys.executable).parent
START_S = 60.0
AWAY = 6
"""Exit status of `cm` when no daemon answers."""

CONFIG = """\
[daemon]
state_dir = "{work}/state"
socket = "{socket}"
plugins = ["local", "facility"]

[facility.USDF]
slots = {slots}
memory = "4 GB"
cores = 2
walltime = "1 h"
agent = "butler"
butlers = {{ demo = "{work}/repo" }}
stacks = {{ w_2026_05 = "{rubin}" }}
drivers = {{ process = "local", script = "local", collect = "butler" }}

[facility.USDF.settings.local]
work_dir = "{work}/attempts"
scripts_dir = "{here}/scripts"

[facility.USDF.settings.local.pipeline_env]
DEMO_PIPE_DIR = "{here}/pipeline"
PYTHONPATH = "{here}/pipeline"
OMP_NUM_THREADS = "1"

[facility.USDF.settings.agent.env]
OMP_NUM_THREADS = "1"
"""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


class Daemon:
    """The demo's daemon as a process of its own, started again whenever it dies."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._pid_file = work / "daemon.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it (after ending one that an earlier run left), and keep it alive."""
        self._end_former()
        self._spawn()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _spawn(self) -> None:
        with (self._work / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "cmd-daemon", "run", "--config", self._work / "cmd-daemon.toml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the daemon is told by SIGTERM
            )
        self._pid_file.write_text(str(self._process.pid))
        self.starts += 1

    def _keep(self) -> None:
        while self._process is not None:
            status = self._process.wait()
            if self._stopping.is_set():
                return
            if status == 1:
                print(f"the daemon does not start; see {self._work}/daemon.log", file=sys.stderr)
                return
            print(f"the daemon died (status {status}); it is started again", flush=True)
            self._spawn()

    def stop(self) -> None:
        """End it; jobs that run go on and are found again by the next one."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._pid_file.unlink(missing_ok=True)

    def _end_former(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            if b"cmd-daemon" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 20
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.1)


def cm(socket: Path, *words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the CLI against the demo's daemon."""
    return subprocess.run(
        [BIN / "cm", "--address", f"unix:{socket}", *words],
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )


def rubin(*words: str | Path) -> None:
    """Run a program in the Rubin stack. Raises DemoFailed if it fails."""
    env = {
        **os.environ,
        "DEMO_PIPE_DIR": str(HERE / "pipeline"),
        "PYTHONPATH": str(HERE / "pipeline"),
    }
    done = subprocess.run([RUBIN, *words], check=False, env=env)
    if done.returncode != 0:
        raise DemoFailed(f"{Path(words[0]).name} ended with status {done.returncode}")


def wait_for_daemon(socket: Path, daemon: Daemon) -> None:
    """Return once the daemon answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if socket.exists() and cm(socket, "daemon", "--json", capture=True).returncode == 0:
            return
        time.sleep(0.2)
    raise DemoFailed(f"the daemon did not answer within {START_S:.0f} s; see daemon.log")


def patient(socket: Path, daemon: Daemon, *words: str) -> int:
    """Run the CLI, again if the daemon was away just then; its exit status. Raises DemoFailed."""
    while (status := cm(socket, *words).returncode) == AWAY:
        wait_for_daemon(socket, daemon)
    return status


def fate(socket: Path) -> str:
    """The state of the demo's campaign, "" if there is none."""
    shown = cm(socket, "list", "--json", capture=True)
    if shown.returncode != 0:
        return ""
    for campaign in json.loads(shown.stdout):
        if campaign["name"] == f"campaigns/{CAMPAIGN}":
            return str(campaign["state"]).removeprefix("STATE_")
    return ""


def say(words: str) -> None:
    """A headline of the demo's own."""
    print(f"\n== {words}", flush=True)


def prepare(work: Path, small: bool) -> Path:
    """Everything the daemon needs: the sky, the configuration. Returns the socket's path."""
    finished = work / "finished"
    if finished.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "fail-once").mkdir(exist_ok=True)
    socket = work / "cmd.sock"
    if len(str(socket)) > 100:
        # A Unix socket's path is short by nature.
        socket = Path("/tmp") / f"cmd-demo-{os.getuid()}-{abs(hash(str(work))) % 10**8}.sock"
    say("the sky: a Butler repository with simulated exposures whose truth is known")
    rubin(HERE / "sky" / "make_sky.py", "--repo", work / "repo", *(["--small"] if small else []))
    slots = max(2, min(4, os.cpu_count() or 2))
    (work / "cmd-daemon.toml").write_text(
        CONFIG.format(work=work, socket=socket, slots=slots, rubin=RUBIN, here=HERE)
    )
    return socket


def run(work: Path, small: bool) -> int:
    """Run the demo; returns its exit status. Raises DemoFailed."""
    began = time.monotonic()
    socket = prepare(work, small)
    daemon = Daemon(work)
    try:
        say("the daemon: SQLite and a Unix socket")
        daemon.start()
        wait_for_daemon(socket, daemon)
        former = fate(socket)
        if former and former not in ("DRAFT", "RUNNING", "PAUSED"):
            raise DemoFailed(f"campaign {CAMPAIGN} is {former}: remove {work} to begin anew")
        say("going on with the campaign" if former else f"the campaign: cm apply {CAMPAIGN}")
        campaign = HERE / "campaign.yaml"
        settings = ["--set", f"FAIL_ONCE={work / 'fail-once'}"]
        if patient(socket, daemon, "apply", str(campaign), *settings, "--start") != 0:
            raise DemoFailed("the campaign was refused")
        watched = patient(socket, daemon, "watch", CAMPAIGN, "--exit-on-hold")
        say("the report: cm status")
        patient(socket, daemon, "status", CAMPAIGN)
        if watched != 0:
            cm(socket, "why", CAMPAIGN)
            raise DemoFailed(f"the campaign is {fate(socket)}, not ACCEPTED")
        say("the check against the truth")
        rubin(
            HERE / "sky" / "check_truth.py",
            *("--repo", work / "repo", "--collection", "DemoCam/runs/demo"),
            *("--truth", work / "truth.json"),
        )
        (work / "finished").touch()
    finally:
        daemon.stop()
    say(f"{CAMPAIGN} is ACCEPTED and agrees with the truth, in {time.monotonic() - began:.0f} s")
    return 0


def serve(work: Path) -> int:
    """Run the daemon of a former demo until Ctrl-C. Raises DemoFailed if there was none."""
    config = work / "cmd-daemon.toml"
    if not config.exists():
        raise DemoFailed(f"there is no demo in {work} yet: run `make demo`")
    shown = Path(os.path.relpath(work / "cmd.sock"))
    print(f"the demo's daemon, until Ctrl-C: export CM_ADDRESS=unix:{shown}", flush=True)
    daemon = Daemon(work)
    try:
        daemon.start()
        threading.Event().wait()
    finally:
        daemon.stop()
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=ROOT / "build" / "demo")
    parser.add_argument("--small", action="store_true", help="the smallest sky, for tests")
    parser.add_argument("--serve", action="store_true", help="run the daemon of a former demo")
    given = parser.parse_args()
    if not RUBIN.exists():
        print(f"the Rubin stack is not there ({RUBIN}): run `make rubin`", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        work = given.workdir.absolute()
        return serve(work) if given.serve else run(work, given.small)
    except DemoFailed as error:
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
