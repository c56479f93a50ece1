"""Fixtures: three facilities with real Butlers, two of which are reached over ssh.

What machines and movements are for tests stands beside the tests of ssh and of movements.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "housekeeping"), str(TESTS / "moving")]

from far_machine import FarMachine  # noqa: E402
from moving_setup import FACILITIES, ROOT, World, make_repositories  # noqa: E402

from cmd_daemon.hooks import FacilityInfo, Transport  # noqa: E402
from cmd_daemon.testing import FakeHost, facility_info  # noqa: E402
from cmd_housekeeping.connection import Connections  # noqa: E402
from cmd_housekeeping.ssh_transport import SshTransportFactory  # noqa: E402
from cmd_local.agent import ButlerAgent, ButlerAgentFactory  # noqa: E402
from cmd_local.transport import LocalTransportFactory  # noqa: E402

FAR = ("USDF", "UKDF")
SCENARIOS = ("keep", "gather", "kill", "outage", "corrupt", "gather_lost", "full", "tape", "stage")


@pytest.fixture(scope="session")
def rubin_python() -> Path:
    """The Python with the Rubin stack (CMD_RUBIN_PYTHON, else .venv-rubin beside the sources)."""
    python = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
    if not python.is_file():
        pytest.fail(f"{python} is not there: run `make rubin`, or set CMD_RUBIN_PYTHON")
    return python


@pytest.fixture(scope="session")
def repositories(rubin_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the repositories of the three facilities."""
    directory = tmp_path_factory.mktemp("facilities")
    make_repositories(rubin_python, directory, SCENARIOS)
    return directory


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarMachine]:
    """The far machine of USDF and UKDF; who stops it starts it again."""
    machine = FarMachine(tmp_path_factory.mktemp("machine"))
    machine.start()
    yield machine
    machine.clear()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[FarMachine]:
    """A far machine of the test's own."""
    machine = FarMachine(tmp_path)
    machine.start()
    yield machine
    machine.clear()


@pytest.fixture(scope="session")
def facilities(
    rubin_python: Path, repositories: Path, machine: FarMachine
) -> Mapping[str, FacilityInfo]:
    """The configuration of the three facilities; USDF has a tape element."""
    tape = {"USDF": {"mover": {"tape": {"USDF_TAPE": str(repositories / "tape")}}}}
    agent = {"backoff_s": 0.2, "backoff_max_s": 0.2}
    ssh = machine.settings().model_dump(mode="json", exclude_none=True)
    return {
        name: facility_info(
            name,
            transport="ssh" if name in FAR else "local",
            stacks={"demo": str(rubin_python)},
            butlers={"main": str(repositories / name)},
            settings={"agent": agent, "ssh": ssh, **tape.get(name, {})},
            storage={"work": str(repositories), "scratch": "/no/such/place"},
        )
        for name in FACILITIES
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def transports(
    facilities: Mapping[str, FacilityInfo], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, Transport]]:
    """The ways to the three facilities."""
    host = FakeHost(tmp_path_factory.mktemp("transports"), facilities)
    factories = {"ssh": SshTransportFactory(Connections()), "local": LocalTransportFactory()}
    made = {name: factories[info.transport].create(info, host) for name, info in facilities.items()}
    yield made
    for transport in made.values():
        await transport.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def agents(
    facilities: Mapping[str, FacilityInfo],
    transports: Mapping[str, Transport],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Mapping[str, ButlerAgent]]:
    """The agents of the three facilities."""
    host = FakeHost(tmp_path_factory.mktemp("agents"), facilities, transports=transports)
    made = {name: ButlerAgentFactory().create(info, host) for name, info in facilities.items()}
    yield made
    await asyncio.gather(*(agent.close() for agent in made.values()))


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    facilities: Mapping[str, FacilityInfo],
    agents: Mapping[str, ButlerAgent],
    transports: Mapping[str, Transport],
) -> AsyncIterator[World]:
    """The facilities with the scenario that the test names."""
    made = World(request.param, tmp_path, facilities, agents, transports)
    yield made
    await made.stop()
