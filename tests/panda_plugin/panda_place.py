"""A contract server, a host whose clock is the server's, and drivers over both."""

import contextlib
import itertools
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from panda_server.model.pace import Pace
from panda_server.model.submission import submit
from panda_server.model.world import World
from panda_server.server import PandaServer
from panda_server.web.app import Request, Response

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder
from cmd_daemon.testing.host import FakeHost, facility_info
from cmd_panda.driver import PandaDriver
from cmd_panda.naming import name_of
from cmd_panda.settings import PandaSettings
from cmd_panda.tasks import parameters_of

FACILITIES = {"USDF": "SLAC_Rubin", "FrDF": "CC-IN2P3_Rubin", "UKDF": "LANCS_Rubin"}
SPEED = 60.0
"""Seconds of the model for one of ours: a task is done in about a second."""

_numbers = itertools.count()


class PandaHost(FakeHost):
    """The daemon's host in the server's time."""

    def __init__(self, state_dir: Path, server: PandaServer, facilities: Mapping[str, Any]) -> None:
        super().__init__(state_dir, facilities)
        self._server = server

    def now(self) -> int:
        """Microseconds UTC on the model's clock."""
        return round(self._server.world.clock.wall().replace(tzinfo=UTC).timestamp() * 1e6)


class PandaPlace:
    """The server and the daemon's side of it. `speed` 0: time stands still but for `advance`."""

    def __init__(self, folder: Path, speed: float = SPEED) -> None:
        self.folder = folder
        self.server = PandaServer(speed=speed, pace=Pace(heartbeat=20.0))
        self.token_file = folder / "token"
        self.host: PandaHost

    def __enter__(self) -> "PandaPlace":
        self.server.start()
        self.write_token()
        self.host = PandaHost(
            self.folder / "state", self.server, {name: self.info(name) for name in FACILITIES}
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.__exit__(kind, error, trace)

    def write_token(self, lifetime_s: float = 14 * 86_400) -> str:
        """Put a new token of the production role where the driver reads it."""
        token = self.server.production_token(lifetime_s)
        self.token_file.write_text(token)
        return token

    def section(self, facility: str = "USDF", **changes: object) -> dict[str, Any]:
        """The section `panda` of a facility."""
        section: dict[str, Any] = {
            "server": self.server.url,
            "token_file": str(self.token_file),
            "queue": FACILITIES[facility],
            "poll_s": 6.0,
            "settle_s": 60.0,
            "monitor": "https://bigmon.example.org",
        }
        return {**section, **changes}

    def settings(self, facility: str = "USDF", **changes: object) -> PandaSettings:
        """The same, validated."""
        return PandaSettings.model_validate(self.section(facility, **changes))

    def info(self, facility: str) -> FacilityInfo:
        """The facility as plugins see it."""
        return facility_info(facility, settings={"panda": self.section(facility)})

    async def driver(self, facility: str = "USDF", **changes: object) -> PandaDriver:
        """A started driver; the state directory is that of those before."""
        settings = self.settings(facility, **changes)
        driver = PandaDriver(self.info(facility), settings, self.host)
        await driver.start()
        return driver

    def order(self, script: str = "#!/bin/sh\ntrue\n", **changes: Any) -> JobOrder:
        """An order of a script with a key never used before."""
        group = f"g{next(_numbers)}-{uuid.uuid4().hex[:8]}"
        fields: dict[str, Any] = {
            "key": f"dp2/step1/{group}/check#1",
            "campaign": "dp2",
            "step": "step1",
            "group": group,
            "job": "check",
            "attempt": 1,
            "kind": JobKind.SCRIPT,
            "facility": "USDF",
            "params": {"script": script},
        }
        return JobOrder(**{**fields, **changes})

    def name(self, key: str) -> str:
        """The task's name of an attempt."""
        return name_of(key, "cmd")

    def tasks_named(self, key: str) -> list[Any]:
        """The server's own tasks of an attempt, refined or not."""
        with self.server.world.lock:
            tasks = list(self.server.world.tasks.values())
        return [task for task in tasks if task.parameters.get("taskName") == self.name(key)]

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.server.advance(seconds)

    def lose_state(self) -> None:
        """The daemon's folder is lost."""
        self.host = PandaHost(
            self.folder / f"state{next(_numbers)}",
            self.server,
            {name: self.info(name) for name in FACILITIES},
        )

    def forget_everything(self) -> None:
        """PanDA has lost its tasks."""
        former = self.server.world
        self.server.use(World(former.clock, former.pace))

    def submit_outside(self, order: JobOrder, **changes: Any) -> int:
        """A task of an order that another hand has made, without a unique name; its id."""
        told = {**parameters_of(order, self.settings()), "uniqueTaskName": False, **changes}
        with self.server.world.lock:
            _, text, task = submit(self.server.world, told, "Test User", production=True)
        assert task is not None, text
        return task

    def earlier_task(self) -> int:
        """A task of the daemon's account that is older than all others of a test."""
        return self.submit_outside(self.order())

    @contextlib.contextmanager
    def refusing(self, names: Collection[str]) -> Iterator[None]:
        """The server registers no task of these names."""

        def place(request: Request, world: object) -> Response | None:
            if not request.path.endswith("/task/submit"):
                return None
            if json.loads(request.plain_body())["task_parameters"]["taskName"] not in names:
                return None
            told = {"success": False, "message": "failed to register task", "data": 4}
            return Response(200, json.dumps(told))

        self.server.app.places.insert(0, place)
        yield
        self.server.app.places.remove(place)

    @property
    def recordings(self) -> Path:
        """The folder of what was recorded from a real server."""
        return Path(__file__).parent.parent / "panda_server" / "recordings"

    def relay(self, body: bytes) -> list[Any]:
        """What the relay answers to a body, sent by another hand."""
        answer = httpx.post(
            f"{self.server.url}/server/panda/relay_idds_command",
            content=body,
            headers={
                "Authorization": f"Bearer {self.token_file.read_text()}",
                "Origin": "Rubin:production",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        told: list[Any] = answer.json()
        return told

    def asked(self, what: Callable[[str], bool] = bool) -> list[str]:
        """The requests that the server has had."""
        return [each for each in self.server.app.requests if what(each)]
