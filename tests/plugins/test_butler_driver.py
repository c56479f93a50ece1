"""Collection jobs: the contract, over a small real agent process."""

import itertools
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cmd_daemon.hooks import DriverError, ErrorClass, JobKind, JobOrder, Refused
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import (
    DriverContract,
    NotInjectable,
    outcomes,
    submitted,
)
from cmd_local.agent import ButlerAgent, ButlerAgentFactory
from cmd_local.butler_driver import ButlerDriver
from cmd_local.settings import ButlerSettings
from cmd_local.transport import LocalTransport

NUMBERS = itertools.count(1)
FAKE = Path(__file__).with_name("fake_agent.py")


def order(*children: str, **fields: Any) -> JobOrder:
    number = next(NUMBERS)
    chains = [
        {"name": f"out/s/{number:04d}", "children": list(children or ("run-1",))},
        {"name": "out/s", "children": [f"out/s/{number:04d}"], "mode": "prepend"},
    ]
    base: dict[str, Any] = {"butler": "main", "params": {"chains": chains}}
    return JobOrder(
        key=f"c/s/{number:04d}/collect#1",
        campaign="c",
        step="s",
        group=f"{number:04d}",
        job="collect",
        attempt=1,
        kind=JobKind.COLLECT,
        facility="HERE",
        **{**base, **fields},
    )


class World:
    """A facility whose agent writes down the chains it made."""

    def __init__(self, root: Path) -> None:
        self.log = root / "chains"
        section = {"program": str(FAKE), "env": {"CHAIN_LOG": str(self.log)}}
        self.info = facility_info(
            stacks={"w_1": sys.executable}, butlers={"main": "r"}, settings={"agent": section}
        )
        self.agents: dict[str, ButlerAgent] = {}
        here = {"HERE": LocalTransport("HERE", root)}
        self.host = FakeHost(root, {"HERE": self.info}, self.agents, transports=here)
        self.agent = ButlerAgentFactory().create(self.info, self.host)
        self.host = FakeHost(root, {"HERE": self.info}, {"HERE": self.agent})

    async def driver(self) -> ButlerDriver:
        driver = ButlerDriver(self.info, ButlerSettings(), self.host)
        await driver.start()
        return driver

    def made(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.agent.close()


class TestButlerDriverContract(DriverContract):
    exactly_once = False

    @pytest.fixture(autouse=True)
    def outside(self, world: World) -> None:
        self.world = world

    async def make_driver(self) -> ButlerDriver:
        return await self.world.driver()

    def orders(self, n: int) -> list[JobOrder]:
        return [order() for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        raise NotInjectable("collecting is over in an instant")

    def ledger(self) -> Mapping[str, int]:
        if not self.world.log.exists():
            return {}
        names = [args["chains"][0]["name"] for args in self.world.made()]
        return Counter(f"c/s/{name.rpartition('/')[2]}/collect#1" for name in names)


async def test_missing_runs_are_skipped_but_not_all_of_them(world: World) -> None:
    driver = await world.driver()
    good, bad = order("missing-run", "run-1"), order("missing-run")
    refs = await submitted(driver, [good, bad])
    ended = await outcomes(driver, refs, 20.0)
    assert ended[good.key].ok
    assert ended[good.key].extra["chains"][f"out/s/{good.group}"] == ["run-1"]
    assert not ended[bad.key].ok
    assert ended[bad.key].message == (
        f"nothing to collect for out/s/{bad.group}: none of the runs exists"
    )
    sent = world.made()[0]
    assert sent["repo"] == "main"
    assert sent["chains"][0]["missing"] == "skip"
    assert sent["chains"][1]["mode"] == "prepend"
    await driver.stop()


async def test_what_a_killed_daemon_left_undone_is_done_again(world: World) -> None:
    driver = await world.driver()
    one = order()
    refs = await submitted(driver, [one])
    await driver.stop()  # ends the call under way, as a kill would
    again = await world.driver()
    ended = await outcomes(again, refs, 20.0)
    assert ended[one.key].ok
    await again.stop()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"params": {}}, "needs 'chains'"),
        ({"params": {"chains": [{"name": "a"}]}}, "a list of 'children'"),
        ({"butler": "dp2"}, "no Butler repository 'dp2' (it has: main)"),
    ],
)
async def test_bad_orders(world: World, fields: dict[str, Any], words: str) -> None:
    driver = await world.driver()
    (answer,) = await driver.submit([order(**fields)])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.PERMANENT
    assert words in answer.message


async def test_the_agents_failure_is_the_outcome(world: World, tmp_path: Path) -> None:
    class Down:
        async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 1.0) -> Any:
            raise DriverError(ErrorClass.TRANSIENT, "the agent died")

    world.host = FakeHost(tmp_path, {"HERE": world.info}, {"HERE": Down()})
    driver = ButlerDriver(world.info, ButlerSettings(timeout_s=0.05), world.host)
    await driver.start()
    one = order()
    ended = await outcomes(driver, await submitted(driver, [one]), 20.0)
    assert (ended[one.key].ok, ended[one.key].error_class) == (False, ErrorClass.TRANSIENT)
    assert ended[one.key].message == "the agent died"
