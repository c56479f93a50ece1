"""The driver `rucio` keeps the contract of drivers over a real Rucio and real agents.

The orders are transfers of the same few files under groups of their own: each has its own dataset and
rule in Rucio, which is the ledger. Long ones are of files that the transfer service holds back.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from live_setup import SCENARIO_OF_CONTRACT as SCENARIO
from live_setup import AgentElsewhere
from rucio_site import SCOPE, Site

from cmd_daemon.hooks import Command, FacilityInfo, JobKind, JobOrder
from cmd_daemon.testing import FakeHost
from cmd_daemon.testing.driver_contract import DriverContract
from cmd_rucio_butler.driver import RucioDriver, RucioDriverFactory
from cmd_rucio_butler.settings import rucio_settings

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def holding(site: Site) -> Iterator[Site]:
    """The Rucio at work, with a transfer service that holds the contract's warps back."""
    site.transfers.fault(f"{SCENARIO}/make/g1/a1/warp", hold=True)
    site.daemons.pace(0.1)
    yield site
    site.sweep()


def order(prefix: str, type_: str) -> JobOrder:
    group = f"{prefix}{next(NUMBERS)}"
    chain = f"out/{SCENARIO}/make"
    return JobOrder(
        key=f"{SCENARIO}/make/{group}/keep-transfer#1",
        campaign=SCENARIO,
        step="make",
        group=group,
        job="keep-transfer",
        attempt=1,
        kind=JobKind.TRANSFER,
        facility="FrDF",
        params={"datasets": [type_], "at": "USDF", "facilities": ["USDF", "FrDF"]},
        butler="main",
        output_chain=f"{chain}/g1",
        step_chain=chain,
    )


@pytest.mark.timeout(300)
class TestLiveContract(DriverContract):
    deadline_s = 90.0
    exactly_once = True

    @pytest.fixture(autouse=True)
    def outside(
        self,
        tmp_path: Path,
        holding: Site,
        facilities: Mapping[str, FacilityInfo],
        agents: Mapping[str, AgentElsewhere],
    ) -> None:
        self.client = holding.client()
        self.info = facilities["FrDF"]
        self.host = FakeHost(tmp_path, facilities, agents)
        self.made: list[str] = []

    async def make_driver(self) -> RucioDriver:
        driver = RucioDriverFactory().create(self.info, rucio_settings(self.info), self.host)
        await driver.start()
        return driver

    def _orders(self, prefix: str, type_: str, n: int) -> list[JobOrder]:
        made = [order(prefix, type_) for _ in range(n)]
        self.made += [each.group for each in made]
        return made

    def orders(self, n: int) -> list[JobOrder]:
        return self._orders("quick", "zp", n)

    def long_orders(self, n: int) -> list[JobOrder]:
        return self._orders("long", "warp", n)

    def command_values(self) -> Mapping[Command, int | str]:
        return {Command.PRIORITY: 5}

    def ledger(self) -> Mapping[str, int]:
        rules = {}
        for group in self.made:
            name = f"Dataset/{SCENARIO}/make/{group}/FrDF/keep"
            filters = {"account": "root", "scope": SCOPE, "name": name}
            found = list(self.client.list_replication_rules(filters))
            rules[f"{SCENARIO}/make/{group}/keep-transfer#1"] = len(found)
        return rules
