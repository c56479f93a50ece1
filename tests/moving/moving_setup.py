"""Three facilities with real Butlers and agents, and what the tests of movements ask of them."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rubin_stack import ROOT, rubin_python

from cmd_daemon.hooks import (
    AgentFactory,
    FacilityInfo,
    JobKind,
    JobOrder,
    Outcome,
    Transport,
)
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_local.agent import ButlerAgent, ButlerAgentFactory
from cmd_local.moving.carrier import Carrier, SameMachineCarrier
from cmd_local.moving.driver import MoverDriver
from cmd_local.moving.manifest import manifest_id
from cmd_local.moving.settings import MoverSettings

FACILITIES = ("USDF", "FrDF", "UKDF")
KINDS = {
    "register": JobKind.REGISTER,
    "transfer": JobKind.TRANSFER,
    "ingest": JobKind.INGEST,
    "bundle": JobKind.BUNDLE,
    "purge": JobKind.PURGE,
}
DEADLINE_S = 60.0


def make_repositories(directory: Path, scenarios: Sequence[str]) -> Path:
    """Make the repositories of the three facilities below a directory, with outputs for each scenario;
    the directory."""
    sky = ROOT / "examples" / "demo" / "sky" / "make_sky.py"
    seed = Path(__file__).with_name("seed_repositories.py")
    for program in (
        [sky, "--repo", directory / "FrDF", "--small"],
        [seed, directory, *scenarios],
    ):
        done = subprocess.run(
            [str(rubin_python()), *map(str, program)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return directory


def facility_at(directory: Path, name: str, **told: Any) -> FacilityInfo:
    """The configuration of a facility whose repository was made there; `settings` are its sections
    besides the agent's."""
    sections = {"agent": {"backoff_s": 0.2, "backoff_max_s": 0.2}, **told.pop("settings", {})}
    return facility_info(
        name,
        stacks={"demo": str(rubin_python())},
        butlers={"main": str(directory / name)},
        settings=sections,
        **told,
    )


def agents_of(
    facilities: Mapping[str, FacilityInfo],
    transports: Mapping[str, Transport],
    state: Path,
    factory: AgentFactory | None = None,
) -> dict[str, Any]:
    """The agents of the facilities, not yet started, by default `ButlerAgent`."""
    host = FakeHost(state, facilities, transports=transports)
    made = factory or ButlerAgentFactory()
    return {name: made.create(info, host) for name, info in facilities.items()}


def scenarios_of(request: pytest.FixtureRequest, folder: Path) -> list[str]:
    """The scenarios that the chosen tests of a folder name."""
    chosen = [
        getattr(item, "callspec", None)
        for item in request.session.items
        if folder in item.path.parents
    ]
    return sorted({each.params["world"] for each in chosen if each and "world" in each.params})


def scenario(name: str) -> pytest.MarkDecorator:
    """Give the test's world this scenario."""
    return pytest.mark.parametrize("world", [name], indirect=True)


class WatchedAgent:
    """A facility's real agent, with its questions written down; may be killed in the middle of one.

    Set `kill_at` to an operation: the agent's process is killed when it has been asked for it but
    has not answered; with `kill_when`, as soon as that is true and the answer has not come.
    """

    def __init__(self, agent: ButlerAgent) -> None:
        self.inner = agent
        self.asked: list[str] = []
        self.kill_at = ""
        self.kill_when: Callable[[], bool] | None = None
        self.killed = 0

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        self.asked.append(op)
        if op != self.kill_at:
            return await self.inner.call(op, args, timeout_s)
        self.kill_at = ""
        pid = (await self.inner.call("ping", {}))["pid"]
        if self.kill_when is None:
            os.kill(pid, signal.SIGSTOP)
        question = asyncio.ensure_future(self.inner.call(op, args, timeout_s))
        await asyncio.sleep(0)
        while self.kill_when is not None and not self.kill_when():
            if question.done():
                raise AssertionError(f"'{op}' was over before it could be killed in the middle")
            await asyncio.sleep(0.0005)
        os.kill(pid, signal.SIGKILL)
        self.killed += 1
        return await question


class World:
    """The facilities of the session, seen by one test with a scenario and a daemon of its own."""

    def __init__(
        self,
        scenario: str,
        state: Path,
        facilities: Mapping[str, FacilityInfo],
        agents: Mapping[str, ButlerAgent],
        transports: Mapping[str, Transport] | None = None,
    ) -> None:
        self.scenario = scenario
        self.facilities = facilities
        self.agents = {name: WatchedAgent(agent) for name, agent in agents.items()}
        self.host = FakeHost(state, facilities, self.agents, transports=transports)
        self.settings = MoverSettings(patience_s=30.0, chunk=4096)
        self._attempts: dict[str, int] = {}
        self._drivers: list[MoverDriver] = []

    async def driver(
        self, facility: str = "FrDF", carrier: Carrier | None = None, **settings: Any
    ) -> MoverDriver:
        """A new, started driver, as after a restart of the daemon."""
        made = MoverDriver(
            self.facilities[facility],
            self.settings.model_copy(update=settings),
            self.host,
            carrier or SameMachineCarrier(),
        )
        await made.start()
        self._drivers.append(made)
        return made

    async def stop(self) -> None:
        for driver in self._drivers:
            await driver.stop()

    def order(
        self,
        job: str,
        *,
        step: str = "make",
        group: str = "g1",
        here: str = "FrDF",
        where: str = "",
        inputs: tuple[str, ...] = (),
        **params: Any,
    ) -> JobOrder:
        """The next attempt of a movement's job."""
        attempt = self._attempts[job] = self._attempts.get(job, 0) + 1
        chain = f"out/{self.scenario}/{step}"
        return JobOrder(
            key=f"{self.scenario}/{step}/{group}/{job}#{attempt}",
            campaign=self.scenario,
            step=step,
            group=group,
            job=job,
            attempt=attempt,
            kind=KINDS[job.rpartition("-")[2]],
            facility=here,
            params={"facilities": list(FACILITIES), **params},
            butler="main",
            where=where,
            inputs=inputs,
            output_chain=f"{chain}/{group}",
            step_chain=chain,
        )

    async def do(self, driver: MoverDriver, order: JobOrder) -> Outcome:
        """Have an order done to its end."""
        refs = await submitted(driver, [order])
        return (await outcomes(driver, refs, DEADLINE_S))[order.key]

    async def move(
        self, driver: MoverDriver, name: str, stages: Sequence[str], **params: Any
    ) -> list[Outcome]:
        """Have the stages of a movement done, one after the other."""
        return [await self.do(driver, self.order(f"{name}-{stage}", **params)) for stage in stages]

    async def listed(
        self, facility: str, collection: str, types: Sequence[str] = ("zp", "warp")
    ) -> list[dict[str, Any]]:
        """The datasets that a search finds at a facility, by its own Butler."""
        told = await self.agents[facility].inner.call(
            "collections", {"repo": "main", "names": [collection]}
        )
        if not told["collections"]:
            return []
        args = {"repo": "main", "collections": [collection], "types": list(types)}
        told = await self.agents[facility].inner.call("list_datasets", args)
        return list(told["datasets"])

    async def uuids(self, facility: str, collection: str, *types: str) -> set[str]:
        return {each["uuid"] for each in await self.listed(facility, collection, types)}

    async def files(self, facility: str, collection: str, type_: str) -> list[dict[str, Any]]:
        """The datasets of a type with their files."""
        uuids = sorted(await self.uuids(facility, collection, type_))
        args = {"repo": "main", "uuids": uuids}
        told = await self.agents[facility].inner.call("describe_datasets", args)
        return list(told["datasets"])

    def landing(self, facility: str, movement: str = "keep") -> list[Path]:
        """What is left in the facility's landing directory of a movement of group g1."""
        root = Path(self.facilities[facility].butlers["main"]) / ".arriving"
        identity = manifest_id(self.scenario, "make", "g1", movement)
        return [path for path in (root / identity).rglob("*") if path.is_file()]


def books(outcome: Outcome) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The books of an outcome by source, destination and dataset type."""
    return {
        (entry["source"], entry["destination"], entry["type"]): entry
        for entry in outcome.extra["books"]
    }


def counts(entry: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Made, sent, arrived, ingested."""
    return entry["made"], entry["sent"], entry["arrived"], entry["ingested"]


THREE = ("register", "transfer", "ingest")
