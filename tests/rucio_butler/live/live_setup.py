"""Three facilities whose Butlers lie below the storage elements of a real Rucio."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moving_setup import FACILITIES, ROOT, World, make_repositories
from rucio_site import SCOPE, Site

from cmd_daemon.hooks import FacilityInfo
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.agent import ButlerAgent
from cmd_local.moving.carrier import Carrier, SameMachineCarrier
from cmd_local.transport import LocalTransport
from cmd_rucio_butler.agent import RucioAgentFactory
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.settings import RucioSettings, rucio_settings

SCENARIO_OF_CONTRACT = "contract"
DISK = {"USDF": "USDF_DISK", "FrDF": "FRDF_DISK", "UKDF": "UKDF_DISK"}


def rubin_python() -> Path:
    """The Python with the Rubin stack (CMD_RUBIN_PYTHON, else .venv-rubin beside the sources)."""
    return Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))


def make_places(directory: Path, scenarios: Sequence[str]) -> None:
    """Make the repositories; each is its scope's directory below the root of an RSE."""
    make_repositories(rubin_python(), directory, scenarios)
    for facility in FACILITIES:
        root = directory / "rse" / facility
        root.mkdir(parents=True)
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
        name: facility_info(
            name,
            stacks={"demo": str(rubin_python())},
            butlers={"main": str(directory / name)},
            settings={
                "agent": {"backoff_s": 0.2, "backoff_max_s": 0.2},
                "rucio": {**section, "rse": DISK[name]},
            },
        )
        for name in FACILITIES
    }


def agents_of(facilities: Mapping[str, FacilityInfo], state: Path) -> dict[str, ButlerAgent]:
    """The agents of the facilities."""
    transports = {name: LocalTransport(name, state) for name in facilities}
    host = FakeHost(state, facilities, transports=transports)
    return {name: RucioAgentFactory().create(info, host) for name, info in facilities.items()}


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
        agents: Mapping[str, ButlerAgent],
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
