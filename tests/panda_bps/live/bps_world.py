"""A PanDA whose pilots run jobs for real, a Butler with the smallest sky, and drivers of a facility there."""

import asyncio
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from panda_server import PandaServer
from panda_server.model.pace import Pace

from cmd_daemon.hooks import JobKind, JobOrder, JobRef, Observation, Outcome, Phase
from cmd_daemon.testing.clock import FakeClock
from cmd_daemon.testing.host import FakeHost, facility_info
from cmd_local.transport import LocalTransport
from cmd_panda.bps.family import BpsWork
from cmd_panda.bps.rendering import reference, request_name
from cmd_panda.driver import PandaDriver
from cmd_panda.settings import PandaSettings

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "examples" / "demo"
STACK = "w_2026_05"
QUEUE = "SLAC_Rubin"
DEADLINE_S = 500.0
CLUSTERS: dict[str, Any] = {
    "clusterAlgorithm": "lsst.ctrl.bps.quantum_clustering_funcs.dimension_clustering",
    "cluster": {"images": {"pipetasks": "calibrateImage", "dimensions": "visit"}},
}
"""One job for each visit, which has two images."""

_numbers = itertools.count(1)


class WallClock(FakeClock):
    """The machine's time: jobs take what they take."""

    def now(self) -> int:
        """Microseconds UTC."""
        return time.time_ns() // 1000


class BpsWorld:
    """One server, one facility, and orders for it."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self.python = python
        self.repo = folder / "repo"
        self.token = folder / "token"
        self.server = PandaServer(
            speed=1.0,
            pace=Pace(idds=0.5, again=0.5, command=0.5).scaled(0.5),
            state=folder / "panda",
        )
        self.server.run_locally(slots=2)
        self.server.start()
        self.token.write_text(self.server.production_token() + "\n")
        self.facility = facility_info(
            "USDF",
            butlers={"demo": str(self.repo)},
            stacks={STACK: str(python)},
            drivers={JobKind.PROCESS: "panda"},
            settings={"panda": self.section()},
        )
        self.host = FakeHost(
            folder / "state",
            {"USDF": self.facility},
            clock=WallClock(),
            transports={"USDF": LocalTransport("USDF", folder / "state")},
        )

    def make_sky(self) -> None:
        """Two tracts, four visits of two detectors."""
        words = [self.python, DEMO / "sky" / "make_sky.py", "--repo", self.repo, "--small"]
        env = {**os.environ, "PYTHONPATH": str(DEMO / "pipeline")}
        subprocess.run(list(map(str, words)), check=True, env=env)

    def section(self, **bps: Any) -> dict[str, Any]:
        """The facility's section `panda`."""
        prefix = self.python.parent
        table = {
            "site": "SLAC",
            "env": {"DEMO_PIPE_DIR": str(DEMO / "pipeline"), "PYTHONPATH": str(DEMO / "pipeline")},
            "runner_command": runner_command(prefix.parent, DEMO / "pipeline"),
            "attempts": 2,
            "start_s": 300.0,
            **bps,
        }
        return {
            "server": self.server.url,
            "token_file": str(self.token),
            "queue": QUEUE,
            "poll_s": 0.5,
            "settle_s": 5.0,
            "monitor": "https://bigmon.example.org",
            "bps": table,
        }

    async def driver(self, **bps: Any) -> PandaDriver:
        """A started driver; the facility's work directory is that of those before."""
        settings = PandaSettings.model_validate(self.section(**bps))
        driver = PandaDriver(self.facility, settings, self.host)
        await driver.start()
        return driver

    def order(self, where: str = "visit IN (1001, 1002)", **changes: Any) -> JobOrder:
        """An order to calibrate two visits, never given before."""
        group = f"g{next(_numbers)}"
        order = JobOrder(
            key=f"demo/calibrate/{group}/process#1",
            campaign="demo",
            step="calibrate",
            group=group,
            job="process",
            attempt=1,
            kind=JobKind.PROCESS,
            facility="USDF",
            params={"pipeline": "$DEMO_PIPE_DIR/demo.yaml#calibrate", "bps": CLUSTERS},
            where=f"instrument = 'DemoCam' AND {where}",
            stack=STACK,
            butler="demo",
            inputs=("DemoCam/defaults",),
            output_run=f"u/demo/calibrate/{group}/a1",
            output_chain=f"u/demo/calibrate/{group}",
            step_chain="u/demo/calibrate",
        )
        return replace(order, **changes)

    # ---- what the world says

    def requests_of(self, key: str) -> list[Any]:
        """The server's own requests of an attempt."""
        name = request_name(key, "cmd")
        with self.server.world.lock:
            return [each for each in self.server.world.requests.values() if each.name == name]

    def runs_of(self, key: str) -> list[dict[str, Any]]:
        """The executions of an attempt's jobs."""
        name = request_name(key, "cmd")
        return [each for each in self.server.ledger() if each["task"].startswith(f"{name}_")]

    def directory(self, key: str) -> Path:
        """The attempt's directory at the facility."""
        at = reference(key, STACK).removeprefix(f"{BpsWork.mark}:{STACK}/")
        return self.host.state_dir / "panda" / "USDF" / "bps" / STACK / "attempts" / at

    def record(self, key: str) -> dict[str, Any]:
        """What the facility has noted of it; empty before it has."""
        file = self.directory(key) / "record.json"
        return json.loads(file.read_text()) if file.exists() else {}


def runner_command(stack: Path, pipeline: Path) -> str:
    """How a node runs a job: the stack set up, and BPS's own decoder of what is to be run."""
    decoder = "lsst.ctrl.bps.panda.edgenode.cmd_line_decoder"
    return (
        f"export PATH={stack}/bin:$PATH CTRL_MPEXEC_DIR={stack} DAF_BUTLER_DIR={stack} "
        f"PYTHONPATH={pipeline} PANDA_BEHIND_REAL_LB=1; python3 -m {decoder} _cmd_line_"
    )


async def seen_until(
    driver: PandaDriver, ref: JobRef, condition: Callable[[Observation], bool]
) -> list[Observation]:
    """All observations up to the first that fits; TimeoutError at the deadline."""
    seen: list[Observation] = []
    async with asyncio.timeout(DEADLINE_S):
        while not seen or not condition(seen[-1]):
            if seen:
                await asyncio.sleep(0.3)
            seen += await driver.observe([ref])
    return seen


async def done(driver: PandaDriver, order: JobOrder) -> Outcome:
    """Submit an order and follow it to its outcome."""
    [answer] = await driver.submit([order])
    ref = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    last = (await seen_until(driver, ref, lambda seen: seen.phase is Phase.DONE))[-1]
    assert last.outcome is not None
    return last.outcome


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true; TimeoutError at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 the outside world sets no events
            await asyncio.sleep(0.05)
