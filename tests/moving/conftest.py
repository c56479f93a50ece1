"""Fixtures: three facilities with real Butlers and agents for the whole session, and a world of its
own for each test over them.

All tests of this folder share one event loop, since agents live in the loop they were started in
and starting one costs seconds.
"""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from moving_setup import FACILITIES, ROOT, World, make_repositories

from cmd_daemon.hooks import FacilityInfo
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.agent import ButlerAgent, ButlerAgentFactory
from cmd_local.transport import LocalTransport

SCENARIOS = (
    "keep", "gather", "scatter", "stranger", "stay", "corrupt", "lost", "resume", "full",
    "kill", "between", "archive", "plain", "purge", "nothing", "gatherkill", "conflict", "again",
    "dimensions",
)  # fmt: skip


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
def facilities(rubin_python: Path, repositories: Path) -> Mapping[str, FacilityInfo]:
    """The configuration of the three facilities; USDF has a tape element."""
    tape = {"USDF": {"mover": {"tape": {"USDF_TAPE": str(repositories / "tape")}}}}
    agent = {"backoff_s": 0.2, "backoff_max_s": 0.2}
    return {
        name: facility_info(
            name,
            stacks={"demo": str(rubin_python)},
            butlers={"main": str(repositories / name)},
            settings={"agent": agent, **tape.get(name, {})},
        )
        for name in FACILITIES
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def agents(
    facilities: Mapping[str, FacilityInfo], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, ButlerAgent]]:
    """The agents of the three facilities."""
    state = tmp_path_factory.mktemp("agents")
    host = FakeHost(
        state, facilities, transports={name: LocalTransport(name, state) for name in facilities}
    )
    made = {name: ButlerAgentFactory().create(info, host) for name, info in facilities.items()}
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
    """The facilities with the scenario that the test names: `@pytest.mark.parametrize("world",
    ["keep"], indirect=True)`."""
    made = World(request.param, tmp_path, facilities, agents)
    yield made
    await made.stop()
