"""The driver `mover` keeps the contract of drivers."""

from pathlib import Path

import pytest
from quick_contract import QuickContract, order

from cmd_daemon.hooks import ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_local.moving.carrier import SameMachineCarrier
from cmd_local.moving.driver import MoverDriver, MoverFactory
from cmd_local.moving.settings import MoverSettings


class TestMoverContract(QuickContract):
    async def make_driver(self) -> MoverDriver:
        driver = MoverDriver(self.info, MoverSettings(), self.host, SameMachineCarrier())
        await driver.start()
        return driver

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
