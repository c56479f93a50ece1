"""The PanDA of the full chain: the contract server of `tests/panda_server`, whose pilots run jobs on this
machine.

Each facility has a queue there. Its process jobs are BPS workflows, submitted in the facility's stack by
real BPS; what BPS sends is what the pilots run. Its scripts are PanDA tasks.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from running import PIPELINE, ROOT, RUBIN, Client, DemoFailed, Kept, say

SERVER = ROOT / "tests" / "panda_server"
START_S = 60.0
QUEUES = {
    "USDF": ("SLAC_Rubin", "SLAC", "US"),
    "FrDF": ("CC-IN2P3_Rubin", "CC-IN2P3", "EU"),
    "UKDF": ("LANCS_Rubin", "LANCS", "EU"),
}
"""Each facility's queue, as PanDA calls it, its site and its cloud."""

SECTION = """
[facility.{name}.lanes]
panda = 20

[facility.{name}.settings.panda]
server = "{url}"
token_file = "{token}"
queue = "{queue}"
cloud = "{cloud}"
scripts_dir = "{scripts}"
poll_s = 1
overlap_s = 60
monitor = "{url}/monitor"

[facility.{name}.settings.panda.env]
REPO = "{place}/repo"

[facility.{name}.settings.panda.bps]
work_dir = "{place}/work/bps"
token_file = "{token}"
site = "{site}"
attempts = 1
runner_command = "{runner}"

[facility.{name}.settings.panda.bps.env]
DEMO_PIPE_DIR = "{pipeline}"
PYTHONPATH = "{pipeline}"
OMP_NUM_THREADS = "1"

# A quantum takes a fraction of a second here, and the start of a job seconds.
[facility.{name}.settings.panda.bps.config]
clusterAlgorithm = "lsst.ctrl.bps.quantum_clustering_funcs.dimension_clustering"

[facility.{name}.settings.panda.bps.config.cluster.images]
pipetasks = "calibrateImage"
dimensions = "instrument"

[facility.{name}.settings.panda.bps.config.cluster.coadds]
pipetasks = "stackImages"
dimensions = "tract"
"""


class PandaOfChain:
    """The PanDA of one run in `work`. Killed and started again it goes on where it was."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._home = work / "panda"
        self._token = self._home / "token"
        self._port_file = self._home / "port"
        self._kept: Kept | None = None

    @property
    def url(self) -> str:
        """Where it listens: the same port for the whole run."""
        return f"http://127.0.0.1:{self._port_file.read_text()}"

    def prepare(self) -> None:
        """Choose its port and make a token, for a new run. Raises DemoFailed."""
        self._home.mkdir(parents=True, exist_ok=True)
        if not self._port_file.exists():
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._port_file.write_text(str(free.getsockname()[1]))
        env = {**os.environ, "PYTHONPATH": str(SERVER)}
        words = [sys.executable, "-m", "panda_server", "token", "--state", self._home]
        made = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise DemoFailed(f"no token could be made: {made.stderr}")
        self._token.touch(mode=0o600)
        self._token.write_text(made.stdout)

    def start(self) -> None:
        """Start it, and keep it alive. Raises DemoFailed if it does not answer."""
        words: list[str | Path] = ["/usr/bin/env", f"PYTHONPATH={SERVER}", sys.executable]
        words += ["-m", "panda_server", "--state", self._home, "--pace", "0.2", "--slots", "1"]
        words += ["--port", self._port_file.read_text()]
        ready = self._home / "server.json"
        ready.unlink(missing_ok=True)
        self._kept = Kept("panda-server", words, self._work, "panda_server")
        self._kept.start()
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"the PanDA does not answer; see {self._work / 'panda-server.log'}"
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._kept is not None:
            self._kept.stop()

    def section(self, name: str, scripts: Path) -> str:
        """What the daemon's configuration says of it at a facility."""
        queue, site, cloud = QUEUES[name]
        return SECTION.format(
            name=name,
            url=self.url,
            token=self._token,
            queue=queue,
            site=site,
            cloud=cloud,
            scripts=scripts,
            place=self._work / name,
            pipeline=PIPELINE,
            runner=runner_command(),
        )


def runner_command() -> str:
    """How a worker node runs a job: the stack set up, and BPS's own decoder of what is to be run."""
    stack = RUBIN.parent.parent
    return (
        f"export PATH={stack}/bin:$PATH CTRL_MPEXEC_DIR={stack} DAF_BUTLER_DIR={stack} "
        f"PYTHONPATH={PIPELINE} OMP_NUM_THREADS=1 PANDA_BEHIND_REAL_LB=1; "
        "python3 -m lsst.ctrl.bps.panda.edgenode.cmd_line_decoder _cmd_line_"
    )


def tell_of_failed_job(client: Client, step: str) -> None:
    """How a person gets from a group that was tried twice to the job that failed and to its log."""
    shown = client.run("jobs", step, "--json", capture=True)
    jobs = json.loads(shown.stdout) if shown.returncode == 0 else []
    again = [each for each in jobs if int(each.get("attempt", 0)) > 1]
    if not again:
        return
    job = "/".join(again[0]["name"].split("/")[1::2])
    group = job.rpartition("/")[0]
    say(f"a group that was rescued: cm why {group}")
    client.patient("why", group)
    say(f"what failed at PanDA: cm attempts {job}")
    client.patient("attempts", job)
    say(f"its task, its jobs and their logs: cm logs {job} --attempt 1 --parts")
    client.patient("logs", job, "--attempt", "1", "--parts")
    parts = client.run("logs", job, "--attempt", "1", "--parts", "--json", capture=True)
    told = json.loads(parts.stdout)
    failed = [
        each["part"] for each in told if (each["kind"], each.get("state")) == ("job", "failed")
    ]
    for name in failed[:1]:
        say(f"its last words: cm logs {job} --attempt 1 --part '{name}/payload.stderr'")
        client.patient(
            "logs", job, "--attempt", "1", "--part", f"{name}/payload.stderr", "--tail", "2000"
        )
