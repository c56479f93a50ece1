"""The ARC driver against a real A-REX. Started by `real_arex.sh` only, which names the server.

States lag here by half a minute, so a few long tests do everything.
"""

import asyncio
import os
from pathlib import Path

import pytest
from far_machine import script_order

from cmd_daemon.hooks import Absent, DriverError, Found
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_housekeeping.arc_driver import ArcDriver, ArcFactory
from cmd_housekeeping.settings import ArcSettings

DEADLINE_S = 400.0
pytestmark = pytest.mark.timeout(900)


async def started(root: Path) -> ArcDriver:
    """A started driver; the server may need a moment."""
    settings = ArcSettings(
        url=os.environ["CMD_REAL_AREX"],
        ca=Path(os.environ["CMD_REAL_AREX_CA"]),
        cert=Path(os.environ["CMD_REAL_AREX_CERT"]),
        key=Path(os.environ["CMD_REAL_AREX_KEY"]),
        poll_s=2.0,
    )
    driver = ArcFactory().create(facility_info("FAR"), settings, FakeHost(root))
    async with asyncio.timeout(120):
        while True:
            try:
                await driver.start()
            except DriverError:
                await asyncio.sleep(1.0)
            else:
                return driver


async def test_scripts_run_are_found_cancelled_and_cleaned(tmp_path: Path) -> None:
    run = str(os.getpid())
    good = script_order('#!/bin/sh\necho "$1"\necho \'{"warmed": 12}\'\n', params={"args": [run]})
    bad = script_order("echo no such tape\nexit 3\n")
    long = script_order("sleep 3600\n")
    driver = await started(tmp_path / "one")
    refs = await submitted(driver, [good, bad, long])
    assert await submitted(driver, [good, bad, long]) == refs
    await driver.stop()
    # A daemon that has lost its notes finds them by their names.
    driver = await started(tmp_path / "two")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answers = await driver.find([good.key, "no/such/group/job#1"])
            if answers == [Found(good.key, refs[0].ref), Absent("no/such/group/job#1")]:
                break
            await asyncio.sleep(2.0)
    await driver.stop()
    driver = await started(tmp_path / "one")
    ended = await outcomes(driver, refs[:2], DEADLINE_S)
    assert ended[good.key].ok, ended
    assert ended[good.key].extra["result"] == {"warmed": 12}
    assert ended[bad.key].exit_code == 3
    assert "no such tape" in ended[bad.key].message
    data = b"".join([c.data async for c in driver.read_log(refs[0], "", 0, follow=True)])
    assert data.decode().splitlines()[0] == run
    assert (await driver.cancel(refs[2:]))[0].done
    ended = await outcomes(driver, refs[2:], DEADLINE_S)
    assert (ended[long.key].ok, ended[long.key].message) == (False, "cancelled")
    assert (await driver.cancel(refs[2:]))[0].done
    await driver.stop()
