"""The driver `spool` passes the contract, over a real worker process."""

import itertools
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cmd_spool.driver import SpoolDriver
from cmd_spool.spool import Spool

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing.driver_contract import DriverContract

NUMBERS = itertools.count(1)


class FaultySpool(Spool):
    """A spool whose answers can be late, or lost after the work was done."""

    delay_s = 0.0
    broken = False

    def put(self, jobs: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, int], dict[str, str]]:
        time.sleep(self.delay_s)
        answer = super().put(jobs)
        if self.broken:
            raise sqlite3.OperationalError("the connection broke before the answer came")
        return answer


def order(**params: object) -> JobOrder:
    number = next(NUMBERS)
    return JobOrder(
        key=f"nights/raw/{number:04d}/process#1",
        campaign="nights",
        step="raw",
        group=f"{number:04d}",
        job="process",
        attempt=1,
        kind=JobKind.PROCESS,
        facility="HERE",
        params=params,
    )


class TestSpoolContract(DriverContract):
    @pytest.fixture(autouse=True)
    def outside(self, tmp_path: Path) -> Iterator[None]:
        self.spool = FaultySpool(tmp_path)
        here = os.pathsep.join(path for path in sys.path if path)
        worker = subprocess.Popen(
            [sys.executable, "-m", "cmd_spool.worker", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": here},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        yield
        worker.kill()
        worker.wait()
        worker.stdout.close()

    async def make_driver(self) -> SpoolDriver:
        driver = SpoolDriver(self.spool, "HERE", poll_s=0.05)
        await driver.start()
        return driver

    def orders(self, n: int) -> list[JobOrder]:
        return [order() for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [order(seconds=None) for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return self.spool.ledger()

    @contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        for key in keys:
            self.spool.refuse(key, "not in this house")
        yield
        for key in keys:
            self.spool.refuse(key, "")

    @contextmanager
    def lose_answers(self) -> Iterator[None]:
        self.spool.broken = True
        yield
        self.spool.broken = False

    @contextmanager
    def slow(self) -> Iterator[None]:
        self.spool.delay_s = 0.5
        yield
        self.spool.delay_s = 0.0

    @contextmanager
    def throttle(self) -> Iterator[None]:
        self.spool.refuse("", "closed")
        yield
        self.spool.refuse("", "")
