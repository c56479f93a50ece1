"""Runs the demo: makes the sky, starts a daemon, applies the campaign, watches it, checks the truth.

`python examples/demo/run.py [--small] [--workdir DIR]`, in the daemon's environment. Ctrl-C stops it and
harms nothing: the next run goes on with the same campaign. A daemon that dies is started again,
as systemd would. Exit status 0 if the campaign was ACCEPTED and agrees with the truth. With `--serve` it
only runs the daemon of a former run, to look around.
"""

import argparse
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from running import (
    ROOT,
    RUBIN,
    SKY,
    Client,
    DemoFailed,
    ended,
    kept_daemon,
    rubin,
    say,
    socket_in,
)

HERE = Path(__file__).parent
CAMPAIGN = "demo"

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


def prepare(work: Path, small: bool) -> Path:
    """Everything the daemon needs: the sky, the configuration. Returns the socket's path."""
    finished = work / "finished"
    if finished.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "fail-once").mkdir(exist_ok=True)
    socket = socket_in(work)
    say("the sky: a Butler repository with simulated exposures whose truth is known")
    rubin(SKY / "make_sky.py", "--repo", work / "repo", *(["--small"] if small else []))
    slots = max(2, min(4, os.cpu_count() or 2))
    (work / "cmd-daemon.toml").write_text(
        CONFIG.format(work=work, socket=socket, slots=slots, rubin=RUBIN, here=HERE)
    )
    return socket


def run(work: Path, small: bool) -> int:
    """Run the demo; returns its exit status. Raises DemoFailed."""
    began = time.monotonic()
    client = Client(prepare(work, small))
    daemon = kept_daemon(work)
    try:
        say("the daemon: SQLite and a Unix socket")
        daemon.start()
        client.wait()
        former = client.fate(CAMPAIGN)
        if former and former not in ("DRAFT", "RUNNING", "PAUSED"):
            raise DemoFailed(f"campaign {CAMPAIGN} is {former}: remove {work} to begin anew")
        say("going on with the campaign" if former else f"the campaign: cm apply {CAMPAIGN}")
        campaign = HERE / "campaign.yaml"
        settings = ["--set", f"FAIL_ONCE={work / 'fail-once'}"]
        if client.patient("apply", str(campaign), *settings, "--start") != 0:
            raise DemoFailed("the campaign was refused")
        watched = client.patient("watch", CAMPAIGN, "--exit-on-hold")
        say("the report: cm status")
        client.patient("status", CAMPAIGN)
        if watched != 0:
            client.run("why", CAMPAIGN)
            raise DemoFailed(f"the campaign is {client.fate(CAMPAIGN)}, not ACCEPTED")
        say("the check against the truth")
        rubin(
            SKY / "check_truth.py",
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
        raise DemoFailed(f"there is no demo in {work} yet: run `make demo-small`")
    shown = Path(os.path.relpath(work / "cmd.sock"))
    print(f"the demo's daemon, until Ctrl-C: export CM_ADDRESS=unix:{shown}", flush=True)
    daemon = kept_daemon(work)
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
    work = given.workdir.absolute()
    return ended("demo", lambda: serve(work) if given.serve else run(work, given.small))


if __name__ == "__main__":
    sys.exit(main())
