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


LIVE = Path(__file__).parent / "live"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave `live`, which needs a broker, out unless the command line names it."""
    if collection_path != LIVE:
        return None
    asked = [
        Path(config.invocation_params.dir, each.split("::")[0]).resolve() for each in config.args
    ]
    return not any(each == LIVE or LIVE in each.parents for each in asked)
