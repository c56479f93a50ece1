"""An outside world for the local driver that leaves no process behind."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_setup import Outside


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """A work directory of the test's own; what still runs at its end is killed."""
    world = Outside(tmp_path)
    yield world
    for pid in world.marked():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pytest_configure(config: pytest.Config) -> None:
    """The mark of tests that need the facility's stack."""
    config.addinivalue_line("markers", "rubin: needs the Rubin stack (see CMD_RUBIN_PYTHON)")
