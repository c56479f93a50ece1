"""Process jobs of the driver panda keep the drivers' contract, with a stand-in for the stack."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from bps_place import BpsPlace

from cmd_daemon.hooks import Command, JobOrder
from cmd_daemon.testing.driver_contract import DriverContract
from cmd_panda.bps import agents
from cmd_panda.driver import PandaDriver


class TestBpsContract(DriverContract):
    deadline_s = 60.0

    @pytest.fixture(autouse=True)
    def world(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(agents, "BACKOFF_S", 1e-9)
        self.place = BpsPlace(tmp_path)
        self.keys: dict[str, str] = {}
        yield
        self.place.server.stop()

    async def make_driver(self) -> PandaDriver:
        return await self.place.driver()

    def orders(self, n: int) -> list[JobOrder]:
        orders = [self.place.order() for _ in range(n)]
        self.keys |= {self.place.name(order.key): order.key for order in orders}
        return orders

    def long_orders(self, n: int) -> list[JobOrder]:
        """Held quanta have written nothing, which is what the stand-in for the stack is to count."""
        orders = self.orders(n)
        (self.place.repo / "failed").write_text("0 1 2 3")
        for order in orders:
            self.place.server.pilot.hold("*_cal*", tasks=f"{self.place.name(order.key)}_*")
        return orders

    def commands_taken(self, commands: frozenset[Command]) -> frozenset[Command]:
        return commands & {Command.PAUSE, Command.RESUME}

    def ledger(self) -> Mapping[str, int]:
        """Requests that iDDS has of each."""
        world = self.place.server.world
        with world.lock:
            return Counter(self.keys.get(each.name, "") for each in world.requests.values())

    @contextlib.contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.place.transport.losing = '"plant"'
        yield
        self.place.transport.losing = "no operation is called so"

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        self.place.transport.slow_s = 0.5
        yield
        self.place.transport.slow_s = 0.0

    @contextlib.contextmanager
    def throttle(self) -> Iterator[None]:
        self.place.transport.cut = True
        yield
        self.place.transport.cut = False

    @contextlib.contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        """The facility has no such Butler any more."""
        butlers = self.place.facility.butlers
        assert isinstance(butlers, dict)
        bad = set(keys)
        plain = PandaDriver.submit

        async def submit(self: PandaDriver, orders: Sequence[JobOrder]) -> object:
            told = [replace(each, butler="gone") if each.key in bad else each for each in orders]
            return await plain(self, told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PandaDriver, "submit", submit)
            yield
