"""Directories of tests that need more than the rest: they run only where they are asked for by path."""

from pathlib import Path

import pytest


def left_out(place: Path, path: Path, config: pytest.Config) -> bool | None:
    """For `pytest_ignore_collect`: leave out the tests in `place` unless the command line names it, or
    something in it."""
    if path != place and not (place in path.parents and path.name.startswith("test_")):
        return None
    for argument in config.args:
        asked = Path(config.invocation_params.dir, argument.split("::")[0]).resolve()
        if asked == place or place in asked.parents:
            return None
    return True
