"""Fixtures: three facilities with real Butlers, two of which are reached over ssh.

What machines and movements are for tests stands beside the tests of ssh and of movements.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "housekeeping"), str(TESTS / "moving")]

from far_machine import FarMachine  # noqa: E402
from moving_setup import (  # noqa: E402
    FACILITIES,
    World,
    agents_of,
    facility_at,
    make_repositories,
    scenarios_of,
)

from cmd_daemon.hooks import FacilityInfo, Transport  # noqa: E402
from cmd_daemon.testing import FakeHost  # noqa: E402
from cmd_housekeeping.connection import Connections  # noqa: E402
from cmd_housekeeping.ssh_transport import SshTransportFactory  # noqa: E402
from cmd_local.agent import ButlerAgent  # noqa: E402
from cmd_local.transport import LocalTransportFactory  # noqa: E402

FAR = ("USDF", "UKDF")


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
    request: pytest.FixtureRequest,
    machine: FarMachine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, FacilityInfo]:
    """The configuration of the three facilities; USDF has a tape element."""
    scenarios = scenarios_of(request, Path(__file__).parent)
    place = make_repositories(tmp_path_factory.mktemp("facilities"), scenarios)
    tape = {"USDF": {"mover": {"tape": {"USDF_TAPE": str(place / "tape")}}}}
    ssh = machine.settings().model_dump(mode="json", exclude_none=True)
    return {
        name: facility_at(
            place,
            name,
            transport="ssh" if name in FAR else "local",
            settings={"ssh": ssh, **tape.get(name, {})},
            storage={"work": str(place), "scratch": "/no/such/place"},
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
    made = agents_of(facilities, transports, tmp_path_factory.mktemp("agents"))
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
