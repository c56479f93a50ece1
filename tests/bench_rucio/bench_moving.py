"""Files registered at one Butler and ingested at another one: by the driver, and by the floor."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_places import HERE, POLL_S, ROOT, RSES, THERE, facilities
from rucio_site import SCOPE, Site

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder
from cmd_daemon.testing import FakeHost
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_local.agent import ButlerAgent
from cmd_local.moving.carrier import SameMachineCarrier
from cmd_local.transport import LocalTransport
from cmd_rucio_butler.agent import RucioAgentFactory
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.settings import rucio_settings

DEADLINE_S = 1800.0
TYPE = "task_metadata"
FLOOR = ROOT / "build" / "bench-register"


@dataclass(frozen=True)
class Moved:
    """Seconds of the stages of one movement, by name."""

    stages: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """From registering to ingested."""
        return sum(self.stages.values())


def order(scenario: str, stage: str) -> JobOrder:
    """The job of a movement's stage."""
    chain = f"out/{scenario}/make"
    return JobOrder(
        key=f"{scenario}/make/g1/keep-{stage}#1",
        campaign=scenario,
        step="make",
        group="g1",
        job=f"keep-{stage}",
        attempt=1,
        kind=JobKind[stage.upper()],
        facility=HERE,
        params={"facilities": [HERE, THERE], "datasets": [TYPE], "at": THERE},
        butler="main",
        output_chain=f"{chain}/g1",
        step_chain=chain,
    )


class Movers:
    """The agents of both facilities, already started, and a driver for each movement."""

    def __init__(self, site: Site, directory: Path, roots: Mapping[str, Path]) -> None:
        self.site, self.directory, self.roots = site, directory, roots
        self.state = directory / "state"
        self.state.mkdir()
        infos = facilities(site, directory, roots)
        host = FakeHost(
            self.state, infos, transports={n: LocalTransport(n, self.state) for n in infos}
        )
        self.agents: dict[str, ButlerAgent] = {
            name: RucioAgentFactory().create(info, host) for name, info in infos.items()
        }

    async def move(self, scenario: str, files: int, **changes: Any) -> Moved:
        """Have the driver move a scenario's files, and count them at the other side."""
        infos: dict[str, FacilityInfo] = facilities(
            self.site, self.directory, self.roots, **changes
        )
        for agent in self.agents.values():
            await agent.call("ping", {})
        host = FakeHost(self.state, infos, self.agents)
        driver = RucioDriver(infos[HERE], rucio_settings(infos[HERE]), host, SameMachineCarrier())
        await driver.start()
        spent = {}
        try:
            for stage in ("register", "transfer", "ingest"):
                began = time.perf_counter()
                job = order(scenario, stage)
                done = await outcomes(driver, await submitted(driver, [job]), DEADLINE_S)
                spent[stage] = time.perf_counter() - began
                if not done[job.key].ok:
                    raise RuntimeError(done[job.key].message)
        finally:
            await driver.stop()
        await self.check(scenario, files)
        return Moved(spent)

    async def check(self, scenario: str, files: int) -> None:
        """Raises RuntimeError if not all files are in the Butler of the other side."""
        args = {
            "repo": "main",
            "collections": [f"out/{scenario}/make/g1/a1"],
            "types": [TYPE],
            "limit": 1,
        }
        told = await self.agents[THERE].call("list_datasets", args)
        if told["total"] != files:
            raise RuntimeError(f"{scenario}: {told['total']} of {files} files are there")

    async def close(self) -> None:
        """End the agents."""
        for agent in self.agents.values():
            await agent.close()


def install_floor() -> None:
    """Rubin's own tool, in an environment of its own below build/."""
    if (FLOOR / "bin" / "rucio-register").exists():
        return
    subprocess.run([os.environ.get("PYTHON", "python3.11"), "-m", "venv", FLOOR], check=True)
    wanted = ["--requirement", str(ROOT / "requirements-rubin.txt"), "lsst-rucio-register"]
    pip = [FLOOR / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *wanted], check=True)


async def floor(movers: Movers, scenario: str, files: int, chunk: int | None = None) -> Moved:
    """The same by `rucio-register data-products`, a rule, and an ingest by hand. Starts of the two
    programs are not counted: the driver's agents run already."""
    moved = await asyncio.to_thread(_floor, movers, scenario, chunk)
    await movers.check(scenario, files)
    return moved


def _floor(movers: Movers, scenario: str, chunk: int | None) -> Moved:
    site, place = movers.site, movers.directory / scenario
    place.mkdir()
    here, there = movers.roots[RSES[HERE]], movers.roots[RSES[THERE]]
    config = place / "register.yaml"
    config.write_text(
        f"rucio_rse: {RSES[HERE]}\nscope: {SCOPE}\nrse_root: {here}\n"
        f"dtn_url: file://localhost{here}\n"
    )
    env = {**os.environ, "RUCIO_CONFIG": str(site.config)}
    tool = [str(FLOOR / "bin" / "rucio-register"), "data-products"]
    name = f"Dataset/{scenario}"
    began = time.perf_counter()
    subprocess.run([*tool, "--help"], env=env, check=True, capture_output=True)
    start = time.perf_counter() - began
    asked = [
        *tool,
        "--repo",
        str(here / SCOPE),
        "--rucio-dataset",
        name,
        "--rucio-register-config",
        str(config),
    ]
    asked += ["--dataset-type", TYPE, "--collections", f"out/{scenario}/make/g1"]
    if chunk is not None:
        asked += ["--chunk-size", str(chunk)]
    began = time.perf_counter()
    _run(asked, env)
    spent = {"register": time.perf_counter() - began - start}
    began = time.perf_counter()
    client = site.client()
    (rule,) = client.add_replication_rule(
        [{"scope": SCOPE, "name": name}], 1, RSES[THERE], grouping="DATASET"
    )
    while client.get_replication_rule(rule)["state"] != "OK":
        if time.perf_counter() - began > DEADLINE_S:
            raise RuntimeError(f"{scenario}: the floor's rule is not done")
        time.sleep(POLL_S)
    spent["transfer"] = time.perf_counter() - began
    told = {
        "scope": SCOPE,
        "dataset": name,
        "type": TYPE,
        "collection": f"out/{scenario}/make/g1",
        "source": str(here / SCOPE),
        "destination": str(there / SCOPE),
        "root": str(there / SCOPE),
        "records": str(place / "records.yaml"),
    }
    (place / "order.json").write_text(json.dumps(told))
    program = Path(__file__).with_name("floor_ingest.py")
    printed = _run([str(FLOOR / "bin" / "python"), str(program), str(place / "order.json")], env)
    spent["ingest"] = json.loads(printed.splitlines()[-1])["seconds"]
    return Moved(spent)


def _run(words: list[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[:3]} ended {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
