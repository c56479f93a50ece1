"""A real Rucio and three real Butlers below its storage elements."""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "rucio"), str(TESTS / "moving")]


from live_setup import DISK, LiveWorld, agents_of, facilities_of, make_places  # noqa: E402
from rucio_site import Site  # noqa: E402

from cmd_daemon.hooks import FacilityInfo  # noqa: E402
from cmd_local.agent import ButlerAgent  # noqa: E402

SCENARIOS = (
    "keep", "gather", "scatter", "stranger", "zips", "archive", "pair", "down", "killed", "thrice",
    "forever", "source", "deleted", "other", "hints", "cancel", "again", "polls", "token", "pin", "purge",
    "stage", "inputs", "contract",
)  # fmt: skip


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the repositories of the three facilities and the roots of their RSEs."""
    directory = tmp_path_factory.mktemp("live")
    make_places(directory, SCENARIOS)
    return directory


@pytest.fixture(scope="session")
def site(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The running Rucio, for all tests."""
    roots = {rse: place / "rse" / facility for facility, rse in DISK.items()}
    whole = Site(tmp_path_factory.mktemp("rucio"), roots)
    with whole:
        yield whole
        print(whole.log(), file=sys.stderr)


@pytest.fixture(scope="session")
def facilities(place: Path, site: Site) -> Mapping[str, FacilityInfo]:
    """The configuration of the three facilities."""
    return facilities_of(place, site)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def agents(
    facilities: Mapping[str, FacilityInfo], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, ButlerAgent]]:
    """The agents of the three facilities."""
    made = agents_of(facilities, tmp_path_factory.mktemp("agents"))
    yield made
    for agent in made.values():
        await agent.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    site: Site,
    facilities: Mapping[str, FacilityInfo],
    agents: Mapping[str, ButlerAgent],
) -> AsyncIterator[LiveWorld]:
    """The facilities and the Rucio with the scenario that the test names."""
    made = LiveWorld(request.param, tmp_path, facilities, agents, site)
    site.daemons.pace(0.1)
    yield made
    await made.stop()
    site.sweep()
