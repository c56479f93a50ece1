"""A real Rucio and three real Butlers below its storage elements, one of each for the whole session."""

import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "rucio"), str(TESTS / "moving")]


from live_setup import (  # noqa: E402
    PACE_S,
    SCENARIO_OF_CONTRACT,
    AgentElsewhere,
    Agents,
    LiveWorld,
    facilities_of,
    make_places,
    roots_of,
)
from moving_setup import scenarios_of  # noqa: E402
from rucio_site import Site  # noqa: E402
from services import debian  # noqa: E402
from services.processes import listens  # noqa: E402

from cmd_daemon.hooks import FacilityInfo  # noqa: E402

APART = ("scatter", "stranger")
"""Scenarios with two visits that no other one has: UKDF can have them from nobody."""
VISITS_APART = "1001,1002,1005,1006"
SERVERS = ("url", "transfers", "daemons")
SPENT: dict[str, float] = {}
"""Seconds by what they were spent on, for the end of the report."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what the Rucio itself took."""
    if SPENT:
        told = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in SPENT.items())
        terminalreporter.write_line(f"A real Rucio: {told}")


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the facilities are."""
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="session")
def making(request: pytest.FixtureRequest, directory: Path) -> Iterator[list[Future[None]]]:
    """The making of the repositories, if a test needs them, while the Rucio starts."""
    needed = any("place" in getattr(item, "fixturenames", ()) for item in request.session.items)
    named = (SCENARIO_OF_CONTRACT, *scenarios_of(request, Path(__file__).parent))
    scenarios = [f"{each}={VISITS_APART}" if each in APART else each for each in named]
    with ThreadPoolExecutor(1) as pool:
        yield [pool.submit(make_places, directory, scenarios)] if needed else []


@pytest.fixture(scope="session")
def site(
    directory: Path, making: list[Future[None]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """The running Rucio, for all tests; its servers are gone at the end."""
    began = time.monotonic()
    whole = Site(tmp_path_factory.mktemp("rucio"), roots_of(directory))
    ports = [int(whole.addresses[name].rpartition(":")[2]) for name in SERVERS]
    with whole:
        SPENT["packages of Debian installed in"] = debian.installing_s
        SPENT["started in"] = time.monotonic() - began - debian.installing_s
        for each in making:
            each.result()
        assert all(listens(port) for port in ports)
        yield whole
        print(whole.log(), file=sys.stderr)
        began = time.monotonic()
    SPENT["ended in"] = time.monotonic() - began
    assert not any(listens(port) for port in ports)


@pytest.fixture
def rucio(site: Site) -> Iterator[Site]:
    """The Rucio for one test, which finds it without work and without faults."""
    yield site
    site.sweep()


@pytest.fixture(scope="session")
def place(directory: Path, site: Site) -> Path:
    """A directory with the repositories of the three facilities and the roots of their RSEs."""
    return directory


@pytest.fixture(scope="session")
def facilities(place: Path, site: Site) -> Mapping[str, FacilityInfo]:
    """The configuration of the three facilities."""
    return facilities_of(place, site)


@pytest.fixture(scope="session")
def agents(
    facilities: Mapping[str, FacilityInfo], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, AgentElsewhere]]:
    """The agents of the three facilities."""
    with Agents(facilities, tmp_path_factory.mktemp("agents")) as running:
        yield running.by_name


@pytest_asyncio.fixture(loop_scope="session")
async def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    rucio: Site,
    facilities: Mapping[str, FacilityInfo],
    agents: Mapping[str, AgentElsewhere],
) -> AsyncIterator[LiveWorld]:
    """The facilities and the Rucio at work, with the scenario that the test names."""
    made = LiveWorld(request.param, tmp_path, facilities, agents, rucio)
    rucio.daemons.pace(PACE_S)
    yield made
    await made.stop()
