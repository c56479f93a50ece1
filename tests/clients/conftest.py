from collections.abc import Iterator
from pathlib import Path

import pytest
from client_setup import Cm
from fake_daemon import FakeDaemon


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A fake daemon with the campaign DRP1."""
    daemon = FakeDaemon(tmp_path / "cmd.sock")
    daemon.world.add_campaign("DRP1")
    yield daemon
    daemon.close()


@pytest.fixture
def cm(fake: FakeDaemon) -> Cm:
    """`cm` against the fake daemon."""
    return Cm(fake.address)
