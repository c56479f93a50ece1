"""Fixtures: three facilities with real Butlers and agents for the whole session, and a world of its
own for each test over them.

All tests of this folder share one event loop, since agents live in the loop they were started in
and starting one costs seconds.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from moving_setup import (
    FACILITIES,
    World,
    agents_of,
    facility_at,
    make_repositories,
    scenarios_of,
)

from cmd_daemon.hooks import FacilityInfo
from cmd_local.agent import ButlerAgent
from cmd_local.transport import LocalTransport


@pytest.fixture(scope="session")
def facilities(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, FacilityInfo]:
    """The configuration of the three facilities; USDF has a tape element."""
    scenarios = scenarios_of(request, Path(__file__).parent)
    place = make_repositories(tmp_path_factory.mktemp("facilities"), scenarios)
    tape = {"USDF": {"mover": {"tape": {"USDF_TAPE": str(place / "tape")}}}}
    return {name: facility_at(place, name, settings=tape.get(name, {})) for name in FACILITIES}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def agents(
    facilities: Mapping[str, FacilityInfo], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, ButlerAgent]]:
    """The agents of the three facilities."""
    state = tmp_path_factory.mktemp("agents")
    transports = {name: LocalTransport(name, state) for name in facilities}
    made = agents_of(facilities, transports, state)
    yield made
    for agent in made.values():
        await agent.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    facilities: Mapping[str, FacilityInfo],
    agents: Mapping[str, ButlerAgent],
) -> AsyncIterator[World]:
    """The facilities with the scenario that the test names (`scenario`)."""
    made = World(request.param, tmp_path, facilities, agents)
    yield made
    await made.stop()
