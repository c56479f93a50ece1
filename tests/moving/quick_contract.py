"""The contract of drivers for those that move datasets, over an agent that answers at once or never.

What movements do is tested with real Butlers beside this; here it is about orders and attempts.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo, JobKind, JobOrder
from cmd_daemon.testing import FakeHost, facility_info
from cmd_daemon.testing.driver_contract import DriverContract

NUMBERS = itertools.count(1)


class QuickAgent:
    """Finds no collections; a question for one whose name begins with "never" has no answer."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.dead = 0

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        if self.dead:
            self.dead -= 1
            raise DriverError(ErrorClass.TRANSIENT, "agent of facility HERE: it died")
        assert op == "collections", op
        (name,) = args["names"]
        if name.startswith("never"):
            await asyncio.Event().wait()
        self.answered[name] += 1
        return {"collections": []}


def key_of(name: str) -> str:
    """The key of the order whose collection has this name."""
    return f"c/s/{name}/keep-register#1"


def order(prefix: str) -> JobOrder:
    """An order of its own to register what a collection of that prefix holds."""
    name = f"{prefix}{next(NUMBERS)}"
    return JobOrder(
        key=key_of(name),
        campaign="c",
        step="s",
        group=name,
        job="keep-register",
        attempt=1,
        kind=JobKind.REGISTER,
        facility="HERE",
        butler="main",
        params={"datasets": ["x"], "at": "HERE", "facilities": ["HERE"]},
        output_chain=name,
        step_chain="out/s",
    )


class QuickContract(DriverContract):
    """The contract; a test class adds `settings` of the facility and `make_driver`."""

    exactly_once = False

    def settings(self, directory: Path) -> Mapping[str, Any]:
        """The sections of the facility's settings."""
        return {}

    @pytest.fixture(autouse=True)
    def outside(self, tmp_path: Path) -> None:
        self.agent = QuickAgent()
        self.info: FacilityInfo = facility_info(
            butlers={"main": "r"}, settings=self.settings(tmp_path)
        )
        self.host = FakeHost(tmp_path, {"HERE": self.info}, {"HERE": self.agent})

    def orders(self, n: int) -> list[JobOrder]:
        return [order("quick") for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [order("never") for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return {key_of(name): n for name, n in self.agent.answered.items()}
