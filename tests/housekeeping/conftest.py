"""A far machine of each test's own that leaves nothing behind."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from arc_site import ArcSite
from far_machine import FarMachine


@pytest.fixture(scope="module")
def shared_far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarMachine]:
    """A started far machine for the tests of a module that leave it as they found it."""
    machine = FarMachine(tmp_path_factory.mktemp("far"))
    machine.start()
    yield machine
    machine.clear()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[FarMachine]:
    """A started far machine."""
    machine = FarMachine(tmp_path)
    machine.start()
    yield machine
    machine.clear()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ArcSite]:
    """A facility with a started computing element."""
    place = ArcSite(tmp_path)
    await place.start()
    yield place
    await place.arex.stop()
