"""A Rucio for the tests of this directory; they run only where they are asked for by their path."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from named import left_out

HERE = Path(__file__).parent
PARTS = ("url", "transfers", "daemons")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this directory out unless the command line names it: it needs an installed Rucio."""
    return left_out(HERE, collection_path, config)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Site"]:  # noqa: F821
    """The running site, for all tests."""
    from rucio_site import Site
    from services.processes import listens

    place = Site(tmp_path_factory.mktemp("rucio"))
    with place:
        ports = [int(place.addresses[name].rpartition(":")[2]) for name in PARTS]
        assert all(listens(port) for port in ports)
        yield place
        print(place.log(), file=sys.stderr)
    assert not any(listens(port) for port in ports)


@pytest.fixture
def rucio(site: "Site") -> Iterator["Site"]:  # noqa: F821
    """The site for one test, which finds it without work and without faults."""
    yield site
    site.sweep()
