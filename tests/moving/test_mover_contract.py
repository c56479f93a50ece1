"""The driver `mover` keeps the contract of drivers, over an agent that answers at once or never.

What movements do is tested with real Butlers beside this; here it is about orders and attempts.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cmd_daemon.hooks import DriverError, ErrorClass, JobKind, JobOrder
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import DriverContract, outcomes, submitted
from cmd_local.moving.carrier import SameMachineCarrier
from cmd_local.moving.driver import MoverDriver, MoverFactory
from cmd_local.moving.settings import MoverSettings

NUMBERS = itertools.count(1)


class QuickAgent:
    """Finds no collections; a question for one whose name begins with "never" has no answer."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.dead = 0

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        if self.dead:
            self.dead -= 1
            raise DriverError(ErrorClass.TRANSIENT, "agent of facility HERE: it died")
        assert op == "collections"
        (name,) = args["names"]
        if name.startswith("never"):
            await asyncio.Event().wait()
        self.answered[name] += 1
        return {"collections": []}


def order(prefix: str) -> JobOrder:
    number = next(NUMBERS)
    return JobOrder(
        key=f"c/s/{prefix}{number}/keep-register#1",
        campaign="c",
        step="s",
        group=f"{prefix}{number}",
        job="keep-register",
        attempt=1,
        kind=JobKind.REGISTER,
        facility="HERE",
        butler="main",
        params={"datasets": ["x"], "at": "HERE", "facilities": ["HERE"]},
        output_chain=f"{prefix}{number}",
        step_chain="out/s",
    )


class TestMoverContract(DriverContract):
    exactly_once = False

    @pytest.fixture(autouse=True)
    def outside(self, tmp_path: Path) -> None:
        self.agent = QuickAgent()
        self.info = facility_info(butlers={"main": "r"})
        self.host = FakeHost(tmp_path, {"HERE": self.info}, {"HERE": self.agent})

    async def make_driver(self) -> MoverDriver:
        driver = MoverDriver(self.info, MoverSettings(), self.host, SameMachineCarrier())
        await driver.start()
        return driver

    def orders(self, n: int) -> list[JobOrder]:
        return [order("quick") for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [order("never") for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return Counter(
            {f"c/s/{name}/keep-register#1": n for name, n in self.agent.answered.items()}
        )

    async def test_an_agent_that_has_died_is_asked_again(self) -> None:
        self.agent.dead = 1
        driver = await self.make_driver()
        refs = await submitted(driver, self.orders(1))
        ended = await outcomes(driver, refs, self.deadline_s)
        assert all(outcome.ok for outcome in ended.values()), ended
        await driver.stop()

    async def test_a_defect_ends_in_words(self) -> None:
        broken = order("quick")
        self.agent.call = None  # type: ignore[assignment,method-assign]
        driver = await self.make_driver()
        refs = await submitted(driver, [broken])
        ended = await outcomes(driver, refs, self.deadline_s)
        outcome = ended[broken.key]
        assert outcome.error_class is ErrorClass.PERMANENT
        assert "a defect of the mover, please report it: TypeError" in outcome.message
        await driver.stop()


def test_the_factory_serves_the_kinds_of_movements(tmp_path: Path) -> None:
    kinds = {"register", "transfer", "ingest", "bundle", "purge"}
    factory = MoverFactory()
    assert {kind.value.lower() for kind in factory.kinds} == kinds
    host = FakeHost(tmp_path)
    driver = factory.create(facility_info(), MoverSettings(), host)
    assert isinstance(driver, MoverDriver)
    with pytest.raises(TypeError):
        factory.create(facility_info(), facility_info(), host)  # type: ignore[arg-type]
