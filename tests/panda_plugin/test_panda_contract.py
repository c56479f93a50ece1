"""The driver panda over the contract server keeps the drivers' contract."""

from collections import Counter
from collections.abc import Mapping

import pytest
from panda_place import PandaPlace

from cmd_daemon.hooks import JobOrder
from cmd_daemon.testing.driver_contract import DriverContract
from cmd_panda.driver import PandaDriver

LONG = "#!/bin/sh\nsleep 600\n"


class TestPandaContract(DriverContract):
    @pytest.fixture(autouse=True)
    def world(self, place: PandaPlace) -> None:
        self.place = place
        self.keys: dict[str, str] = {}

    async def make_driver(self) -> PandaDriver:
        return await self.place.driver()

    def _named(self, orders: list[JobOrder]) -> list[JobOrder]:
        self.keys |= {self.place.name(order.key): order.key for order in orders}
        return orders

    def orders(self, n: int) -> list[JobOrder]:
        return self._named([self.place.order() for _ in range(n)])

    def long_orders(self, n: int) -> list[JobOrder]:
        orders = [self.place.order(LONG) for _ in range(n)]
        for order in orders:
            self.place.server.pilot.hold(tasks=self.place.name(order.key))
        return self._named(orders)

    def ledger(self) -> Mapping[str, int]:
        world = self.place.server.world
        with world.lock:
            names = [
                world.tasks[job.task].parameters["taskName"]
                for job in world.jobs.values()
                if job.started is not None
            ]
        return Counter(self.keys.get(name, "") for name in names)
