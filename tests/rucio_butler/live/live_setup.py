"""Three facilities whose Butlers lie below the storage elements of a real Rucio."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moving_setup import FACILITIES, World, agents_of, facility_at, make_repositories
from rucio_site import SCOPE, Site

from cmd_daemon.hooks import FacilityInfo
from cmd_daemon.testing import FakeHost
from cmd_local.agent import ButlerAgent
from cmd_local.moving.carrier import Carrier, SameMachineCarrier
from cmd_local.transport import LocalTransport
from cmd_rucio_butler.agent import RucioAgentFactory
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.settings import RucioSettings, rucio_settings

SCENARIO_OF_CONTRACT = "contract"
PACE_S = 0.1
"""Seconds between two rounds of Rucio's daemons."""
DISK = {"USDF": "USDF_DISK", "FrDF": "FRDF_DISK", "UKDF": "UKDF_DISK"}


def roots_of(directory: Path) -> dict[str, Path]:
    """The roots of the RSEs' directories, which are made."""
    roots = {rse: directory / "rse" / facility for facility, rse in DISK.items()}
    for root in roots.values():
        root.mkdir(parents=True, exist_ok=True)
    return roots


def make_places(directory: Path, scenarios: Sequence[str]) -> None:
    """Make the repositories; each is its scope's directory below the root of an RSE."""
    make_repositories(directory, scenarios)
    for rse, root in roots_of(directory).items():
        facility = next(name for name, disk in DISK.items() if disk == rse)
        (root / SCOPE).symlink_to(directory / facility)


def facilities_of(directory: Path, site: Site) -> dict[str, FacilityInfo]:
    """The configuration of the facilities."""
    where = site.addresses
    secret = directory / "password"
    secret.write_text(where["password"] + "\n")
    secret.chmod(0o600)
    section: dict[str, Any] = {
        "server": where["url"],
        "account": where["account"],
        "username": where["username"],
        "password_file": str(secret),
        "scope": SCOPE,
        "chunk": 3,
        "page": 3,
        "poll_s": 0.5,
        "boost_s": 0.0,
        "boosts": 2,
        "patience_s": 60.0,
    }
    return {
        name: facility_at(directory, name, settings={"rucio": {**section, "rse": DISK[name]}})
        for name in FACILITIES
    }


class AgentElsewhere:
    """An agent that lives in the loop of another thread: tests with loops of their own share it."""

    def __init__(self, agent: ButlerAgent, loop: asyncio.AbstractEventLoop) -> None:
        self._agent = agent
        self._loop = loop

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        """See `Agent`."""
        question = self._agent.call(op, args, timeout_s)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(question, self._loop))


class Agents:
    """The agents of the facilities in a thread of their own, as a context."""

    def __init__(self, facilities: Mapping[str, FacilityInfo], state: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        transports = {name: LocalTransport(name, state) for name in facilities}
        self._made = agents_of(facilities, transports, state, RucioAgentFactory())
        self.by_name = {
            name: AgentElsewhere(agent, self._loop) for name, agent in self._made.items()
        }

    def __enter__(self) -> Self:
        self._thread.start()
        # Their imports take seconds, so all of them at once.
        starts = [self._do(agent.call("ping", {})) for agent in self._made.values()]
        for each in starts:
            each.result(60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for agent in self._made.values():
            self._do(agent.close()).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


async def eventually(true: Callable[[], object], deadline_s: float = 60.0) -> None:
    """Wait until it holds; fails at the deadline."""
    end = asyncio.get_running_loop().time() + deadline_s
    while not await asyncio.to_thread(true):
        assert asyncio.get_running_loop().time() < end, f"not so after {deadline_s:.0f} s"
        await asyncio.sleep(0.1)


class LiveWorld(World):
    """What tests ask of the facilities, with Rucio between them."""

    def __init__(
        self,
        scenario: str,
        state: Path,
        facilities: Mapping[str, FacilityInfo],
        agents: Mapping[str, AgentElsewhere],
        site: Site,
    ) -> None:
        super().__init__(scenario, state, facilities, agents)
        self.site = site
        self.client = site.client()

    def set(self, facility: str, **changes: Any) -> None:
        """Change the facility's section `rucio` for this test."""
        info = self.facilities[facility]
        section = {**info.settings["rucio"], **changes}
        fields = {name: getattr(info, name) for name in FacilityInfo.__slots__}
        fields["settings"] = {**info.settings, "rucio": section}
        self.facilities = {**self.facilities, facility: FacilityInfo(**fields)}
        self.host = FakeHost(self.host.state_dir, self.facilities, self.agents)

    async def driver(  # type: ignore[override]
        self, facility: str = "FrDF", carrier: Carrier | None = None, **settings: Any
    ) -> RucioDriver:
        """A new, started driver, as after a restart of the daemon."""
        info = self.facilities[facility]
        own: RucioSettings = rucio_settings(info).model_copy(update=settings)
        made = RucioDriver(info, own, self.host, carrier or SameMachineCarrier())
        await made.start()
        self._drivers.append(made)
        return made

    def dataset(self, source: str = "FrDF", kind: str = "keep", group: str = "g1") -> str:
        """The name of a movement's dataset in Rucio."""
        return f"Dataset/{self.scenario}/make/{group}/{source}/{kind}"

    def rules(self, name: str) -> list[dict[str, Any]]:
        """The rules of a dataset, by Rucio itself."""
        return list(self.client.list_did_rules(SCOPE, name))

    def names(self, dataset: str) -> list[str]:
        """The files of a dataset, by Rucio itself."""
        return sorted(each["name"] for each in self.client.list_files(SCOPE, dataset))
