"""The tests in `live` need an installed Rucio server: they run only where they are asked for by path."""

import sys
from pathlib import Path

import pytest

LIVE = Path(__file__).parent / "live"
sys.path.append(str(LIVE.parents[1] / "moving"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave `live` out unless the command line names it, or something in it."""
    if collection_path != LIVE:
        return None
    for argument in config.args:
        asked = Path(config.invocation_params.dir, argument.split("::")[0]).resolve()
        if asked == LIVE or LIVE in asked.parents:
            return None
    return True
