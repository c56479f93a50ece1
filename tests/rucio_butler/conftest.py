"""The tests in `live` need an installed Rucio server: they run only where they are asked for by path."""

import sys
from pathlib import Path

import pytest
from named import left_out

LIVE = Path(__file__).parent / "live"
sys.path.append(str(LIVE.parents[1] / "moving"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave `live` out unless the command line names it, or something in it."""
    return left_out(LIVE, collection_path, config)
