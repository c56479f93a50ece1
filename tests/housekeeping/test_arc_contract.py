"""The ARC driver over a computing element with A-REX's contract keeps the drivers' contract."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pytest
from arc_site import ArcSite
from far_machine import script_order

from cmd_daemon.hooks import JobOrder
from cmd_daemon.testing.driver_contract import DriverContract
from cmd_housekeeping.arc_driver import ArcDriver


class TestArcDriverContract(DriverContract):
    @pytest.fixture(autouse=True)
    def world(self, site: ArcSite) -> None:
        self.site = site

    async def make_driver(self) -> ArcDriver:
        return await self.site.driver()

    def orders(self, n: int) -> list[JobOrder]:
        return [script_order("echo working\n") for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [script_order("sleep 600\n") for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return self.site.ledger()

    @contextlib.contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        self.site.arex.refuse = set(keys)
        yield
        self.site.arex.refuse = set()

    @contextlib.contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.site.arex.lose_answers = True
        yield
        self.site.arex.lose_answers = False

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        self.site.arex.slow_s = 0.5
        yield
        self.site.arex.slow_s = 0.0

    @contextlib.contextmanager
    def throttle(self) -> Iterator[None]:
        self.site.arex.busy = True
        yield
        self.site.arex.busy = False
