"""The driver panda over the contract server keeps the drivers' contract."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import pytest
from panda_place import PandaPlace
from panda_server.faults import Fault

from cmd_daemon.hooks import Command, JobOrder
from cmd_daemon.testing.driver_contract import DriverContract
from cmd_panda.driver import PandaDriver

LONG = "#!/bin/sh\nsleep 600\n"


class TestPandaContract(DriverContract):
    @pytest.fixture(autouse=True)
    def world(self, place: PandaPlace) -> None:
        self.place = place
        self.keys: dict[str, str] = {}

    async def make_driver(self) -> PandaDriver:
        # Another task of ours is there already: see `lookup` for what it is good for.
        self.place.earlier_task()
        return await self.place.driver()

    def command_values(self) -> Mapping[Command, int | str]:
        return {Command.PRIORITY: 700, Command.MEMORY: 3 * 2**30, Command.QUEUE: "LANCS_Rubin"}

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

    @contextlib.contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        with self.place.refusing({self.place.name(key) for key in keys}):
            yield

    @contextlib.contextmanager
    def _fault_of(self, fault: Fault) -> Iterator[None]:
        yield
        self.place.server.faults.remove(fault)

    def lose_answers(self) -> AbstractContextManager[None]:
        return self._fault_of(self.place.server.faults.lose_answers("*/task/submit", times=None))

    def slow(self) -> AbstractContextManager[None]:
        return self._fault_of(self.place.server.faults.slow(0.5))

    def throttle(self) -> AbstractContextManager[None]:
        busy = self.place.server.faults.errors("*/task/submit", 503, "busy", times=None)
        return self._fault_of(busy)
