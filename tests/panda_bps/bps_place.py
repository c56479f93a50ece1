"""A contract server, and a facility whose stack is a stand-in: the whole way of a process job but BPS."""

import asyncio
import itertools
import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

from panda_server import PandaServer
from panda_server.model.pace import Pace

from cmd_daemon.hooks import (
    DriverError,
    ErrorClass,
    FacilityInfo,
    JobKind,
    JobOrder,
    JobRef,
    Observation,
    Phase,
)
from cmd_daemon.testing.host import FakeHost, facility_info
from cmd_local.transport import LocalProcess, LocalTransport
from cmd_panda.bps.rendering import reference, request_name
from cmd_panda.driver import PandaDriver
from cmd_panda.settings import PandaSettings

HERE = Path(__file__).parent
RECORDING = HERE.parent / "panda_server" / "recordings" / "bps_submit.json"
STACK = "w_1"
SPEED = 60.0
DEADLINE_S = 60.0

_numbers = itertools.count(1)


class LosingProcess:
    """A program whose connection breaks after it has done what it was asked for."""

    def __init__(self, process: LocalProcess, transport: "FaultyTransport") -> None:
        self._process = process
        self._transport = transport
        self._broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    async def write(self, data: bytes) -> None:
        """As the transport is told: slowly, or for the last time."""
        await asyncio.sleep(self._transport.slow_s)
        self._broken |= self._transport.losing in data.decode()
        await self._process.write(data)

    async def readline(self) -> bytes:
        """The next line; nothing more once it is broken."""
        line = await self._process.readline()
        return b"" if self._broken else line


class FaultyTransport(LocalTransport):
    """A way to this machine that can be slow, lose answers to an operation, or be cut."""

    slow_s = 0.0
    losing = "no operation is called so"
    cut = False

    async def open(self, argv: Any, env: Mapping[str, str]) -> Any:
        """See `Transport`."""
        return LosingProcess(await super().open(argv, env), self)

    async def install(self, files: Mapping[str, bytes]) -> str:
        """See `Transport`."""
        if self.cut:
            raise DriverError(ErrorClass.TRANSIENT, "the facility cannot be reached")
        return await super().install(files)


class BpsHost(FakeHost):
    """The daemon's host in the server's time."""

    def __init__(
        self, state: Path, server: PandaServer, facility: FacilityInfo, transport: LocalTransport
    ) -> None:
        super().__init__(state, {"USDF": facility}, transports={"USDF": transport})
        self._server = server

    def now(self) -> int:
        """Microseconds UTC on the model's clock."""
        return round(self._server.world.clock.wall().replace(tzinfo=UTC).timestamp() * 1e6)


class BpsPlace:
    """One test's world."""

    def __init__(self, folder: Path) -> None:
        self.server = PandaServer(speed=SPEED, pace=Pace(heartbeat=20.0))
        self.server.world.idds_agents = True
        self.server.start()
        self.token = folder / "token"
        self.token.write_text(self.server.production_token() + "\n")
        self.repo = folder / "repo"
        self.repo.mkdir()
        (self.repo / "collections").write_text("LSSTCam/defaults\n")
        self.pipeline = folder / "p.yaml"
        self.pipeline.touch()
        self.settings = PandaSettings.model_validate(self.section())
        self.facility = facility_info(
            "USDF",
            butlers={"main": str(self.repo)},
            stacks={STACK: sys.executable},
            drivers={JobKind.PROCESS: "panda", JobKind.SCRIPT: "panda"},
        )
        self.transport = FaultyTransport("USDF", folder / "state")
        self.host = BpsHost(folder / "state", self.server, self.facility, self.transport)

    def section(self) -> dict[str, Any]:
        """The facility's section `panda`."""
        return {
            "server": self.server.url,
            "token_file": str(self.token),
            "queue": "SLAC_Rubin",
            "poll_s": 6.0,
            "settle_s": 2.0,
            "bps": {
                "site": "SLAC",
                "runner_command": "x _cmd_line_",
                "env": {
                    "PYTHONPATH": str(HERE / "stand_in"),
                    "STAND_IN_RECORDING": str(RECORDING),
                },
            },
        }

    async def driver(self) -> PandaDriver:
        """A new, started driver."""
        driver = PandaDriver(self.facility, self.settings, self.host)
        await driver.start()
        return driver

    def order(self, **changes: Any) -> JobOrder:
        """An order with a key never used before."""
        group = f"g{next(_numbers)}-{uuid.uuid4().hex[:6]}"
        order = JobOrder(
            key=f"dp2/step1/{group}/process#1",
            campaign="dp2",
            step="step1",
            group=group,
            job="process",
            attempt=1,
            kind=JobKind.PROCESS,
            facility="USDF",
            params={"pipeline": str(self.pipeline)},
            where="visit = 1006",
            stack=STACK,
            butler="main",
            inputs=("LSSTCam/defaults",),
            output_run=f"u/dp2/step1/{group}/a1",
            output_chain=f"u/dp2/step1/{group}",
            step_chain="u/dp2/step1",
        )
        return replace(order, **changes)

    def name(self, key: str) -> str:
        """The name of an attempt's request."""
        return request_name(key, "cmd")

    def requests_of(self, key: str) -> list[Any]:
        """The server's own requests of an attempt."""
        with self.server.world.lock:
            return [r for r in self.server.world.requests.values() if r.name == self.name(key)]

    def tasks_of(self, key: str) -> list[Any]:
        """The server's own tasks of an attempt."""
        with self.server.world.lock:
            return [
                task
                for task in self.server.world.tasks.values()
                if task.parameters["taskName"].startswith(f"{self.name(key)}_")
            ]

    def asked(self) -> list[str]:
        """The requests that the server has had."""
        return list(self.server.app.requests)

    def directory(self, key: str) -> Path:
        """The attempt's directory at the facility."""
        at = reference(key, STACK).partition("/")[2]
        return self.host.state_dir / "panda" / "USDF" / "bps" / STACK / "attempts" / at

    def record(self, key: str) -> dict[str, Any]:
        """What the facility has noted of it; empty before it has."""
        file = self.directory(key) / "record.json"
        return json.loads(file.read_text()) if file.exists() else {}


async def following(driver: PandaDriver, ref: JobRef) -> AsyncIterator[Observation]:
    """Observations of an attempt until it is done; TimeoutError at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            [seen] = await driver.observe([ref])
            yield seen
            if seen.phase is Phase.DONE:
                return
            await asyncio.sleep(0.05)
