"""One contract server and the facilities that work at it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "panda_server"))

from panda_place import PandaPlace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PandaPlace]:
    """A contract server whose time runs fast, and a facility at it."""
    with PandaPlace(tmp_path) as made:
        yield made


@pytest.fixture
def still(tmp_path: Path) -> Iterator[PandaPlace]:
    """The same with a time that stands still but for `advance`."""
    with PandaPlace(tmp_path, speed=0.0) as made:
        yield made
