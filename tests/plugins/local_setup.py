"""A facility with the local driver, and orders for it."""

import asyncio
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.driver import LocalDriver
from cmd_local.settings import LocalSettings

NUMBERS = itertools.count(1)


def script_order(script: str, number: int | None = None, **fields: Any) -> JobOrder:
    """An order for a script given as text, with a key never used before."""
    number = number or next(NUMBERS)
    params = {"script": script, **fields.pop("params", {})}
    return JobOrder(
        key=f"camp/step/{number:04d}/before-1#1",
        campaign="camp",
        step="step",
        group=f"{number:04d}",
        job="before-1",
        attempt=1,
        kind=JobKind.SCRIPT,
        facility="HERE",
        **{"params": params, "walltime_s": 60.0, "memory": 512 * 1024**2, **fields},
    )


def process_order(number: int | None = None, **fields: Any) -> JobOrder:
    """An order for a process job in the stack `w_1` and the repository `main`."""
    number = number or next(NUMBERS)
    base: dict[str, Any] = {
        "stack": "w_1",
        "butler": "main",
        "params": {"pipeline": "p.yaml#calibrate"},
        "inputs": ("Cam/defaults",),
        "output_run": f"out/step/{number:04d}/a1",
        "walltime_s": 60.0,
        "memory": 512 * 1024**2,
    }
    return JobOrder(
        key=f"camp/step/{number:04d}/process#1",
        campaign="camp",
        step="step",
        group=f"{number:04d}",
        job="process",
        attempt=1,
        kind=JobKind.PROCESS,
        facility="HERE",
        **{**base, **fields},
    )


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for something to become true; TimeoutError at the deadline."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 the outside world sets no events
            await asyncio.sleep(0.01)


class Outside:
    """One work directory, over which drivers come and go."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.work = root / "work"
        self.settings = LocalSettings(
            **{"work_dir": self.work, "grace_s": 1.0, "slots": 100, **settings}
        )
        self.facility = facility_info(
            stacks={"w_1": sys.executable}, butlers={"main": str(root / "repo")}
        )
        self.host = FakeHost(root, {"HERE": self.facility})

    async def driver(self) -> LocalDriver:
        """A new, started driver."""
        driver = LocalDriver(self.facility, self.settings, self.host)
        await driver.start()
        return driver

    def ledger(self) -> Mapping[str, int]:
        """How often each key was really started, by the supervisors' own ledger."""
        file = self.work / "ledger"
        return Counter(file.read_text().splitlines()) if file.exists() else {}

    def directory(self, ref: str) -> Path:
        """The directory of an attempt."""
        return self.work / "attempts" / ref

    def supervisor(self, ref: str) -> int:
        """The process id of the attempt's supervisor."""
        return int((self.directory(ref) / "supervisor.lock").read_text())

    def marked(self) -> list[int]:
        """The living processes, supervisors too, that belong to attempts below this directory."""
        mark = f"CMD_ATTEMPT_DIR={self.work}".encode()
        found = []
        for name in os.listdir("/proc"):  # noqa: PTH208
            try:
                environ = Path(f"/proc/{name}/environ").read_bytes() if name.isdigit() else b""
            except OSError:
                continue
            if mark in environ:
                found.append(int(name))
        return found

    def exit(self, ref: str) -> dict[str, Any]:
        """What the supervisor wrote at the end."""
        document: dict[str, Any] = json.loads((self.directory(ref) / "exit.json").read_text())
        return document
