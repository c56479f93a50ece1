"""The package `panda_server` lies beside this file; the tests of other rooms find it the same way.

The tests in `live` need Debian's ActiveMQ: they run only where they are asked for by path."""

import sys
from pathlib import Path

import pytest

LIVE = Path(__file__).parent / "live"
sys.path.insert(0, str(Path(__file__).parent))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave `live` out unless the command line names it, or something in it."""
    here = config.invocation_params.dir
    asked = [Path(here, argument.partition("::")[0]).resolve() for argument in config.args]
    named = any(LIVE in (path, *path.parents) for path in asked)
    return True if collection_path == LIVE and not named else None
