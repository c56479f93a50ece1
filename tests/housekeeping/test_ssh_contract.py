"""The ssh driver over a real OpenSSH server keeps the drivers' contract."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from far_machine import FarMachine, script_order

from cmd_daemon.hooks import JobOrder
from cmd_daemon.testing.driver_contract import DriverContract
from cmd_housekeeping.naming import ref_of
from cmd_housekeeping.ssh_driver import SshDriver


class TestSshDriverContract(DriverContract):
    @pytest.fixture(autouse=True)
    def world(self, shared_far: FarMachine) -> None:
        self.far = shared_far

    async def make_driver(self) -> SshDriver:
        driver = self.far.driver()
        await driver.start()
        return driver

    def orders(self, n: int) -> list[JobOrder]:
        return [script_order("echo working\n") for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [script_order("sleep 600 & sleep 600\n") for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return self.far.ledger()

    @contextlib.contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        """The marker of a running attempt cannot be written: a directory is in its place."""
        blocked = [self.far.work / "running" / Path(ref_of(key)).name for key in keys]
        for marker in blocked:
            marker.mkdir(parents=True)
        yield
        for marker in blocked:
            marker.rmdir()

    def lose_answers(self) -> contextlib.AbstractContextManager[None]:
        """The connection is cut when the attempts are planted and before the answer is sent."""
        return self.far.flag("cut-after")

    def slow(self) -> contextlib.AbstractContextManager[None]:
        return self.far.flag("slow")

    @contextlib.contextmanager
    def throttle(self) -> Iterator[None]:
        """The disk's owner takes the right to plant away for now."""
        owner = next((self.far.work / "fence").iterdir())
        token = owner.read_text()
        owner.write_text("somebody else")
        yield
        owner.write_text(token)
