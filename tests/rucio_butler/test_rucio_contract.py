"""The driver `rucio` keeps the contract of drivers, over an agent that answers at once or never.

What it does with Rucio is tested on a real one in `live`; here it is about orders and attempts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from quick_contract import QuickContract

from cmd_daemon.hooks import Command, DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_local.moving.settings import MoverSettings
from cmd_rucio_butler.driver import RucioDriver, RucioDriverFactory
from cmd_rucio_butler.plugin import cmd_register_agents, cmd_register_drivers
from cmd_rucio_butler.settings import rucio_settings


def section(directory: Path, **changes: Any) -> dict[str, Any]:
    """A section `rucio` whose server nobody answers for."""
    secret = directory / "password"
    secret.write_text("secret")
    return {
        "server": "http://127.0.0.1:9",
        "account": "root",
        "username": "cmd",
        "password_file": str(secret),
        "rse": "HERE_DISK",
        "scope": "rubin",
        "patience_s": 0.0,
        **changes,
    }


class TestRucioContract(QuickContract):
    def settings(self, directory: Path) -> Mapping[str, Any]:
        return {"rucio": section(directory)}

    async def make_driver(self) -> RucioDriver:
        driver = RucioDriverFactory().create(self.info, rucio_settings(self.info), self.host)
        await driver.start()
        return driver

    def command_values(self) -> Mapping[Command, int | str]:
        return {Command.PRIORITY: 5}

    async def test_the_end_of_an_attempt_wakes_the_daemon(self) -> None:
        driver = await self.make_driver()
        refs = await submitted(driver, self.orders(1))
        await outcomes(driver, refs, self.deadline_s)
        assert ("HERE", "rucio") in self.host.wakes
        await driver.stop()


async def test_a_server_nobody_answers_for_is_told_with_its_address(tmp_path: Path) -> None:
    info = facility_info(settings={"rucio": section(tmp_path)})
    driver = RucioDriverFactory().create(info, rucio_settings(info), FakeHost(tmp_path))
    with pytest.raises(DriverError) as caught:
        await driver._shared().server.content("Dataset/x")
    assert caught.value.error_class is ErrorClass.TRANSIENT
    assert "Rucio at http://127.0.0.1:9: content of Dataset/x" in str(caught.value)
    await driver.stop()


def test_the_factory_serves_the_kinds_of_the_mover(tmp_path: Path) -> None:
    (factory,) = cmd_register_drivers()
    (agent,) = cmd_register_agents()
    assert (factory.name, agent.name) == ("rucio", "rucio")
    kinds = {"register", "transfer", "ingest", "bundle", "purge"}
    assert {kind.value.lower() for kind in factory.kinds} == kinds
    with pytest.raises(TypeError):
        factory.create(facility_info(), MoverSettings(), FakeHost(tmp_path))
