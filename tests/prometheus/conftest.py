"""A Prometheus from Debian; the tests of this directory run only where they are asked for by path."""

import shutil
import sys
from pathlib import Path

import pytest
from named import left_out
from services.debian import found

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "docs"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this directory out unless the command line names it: it installs a package."""
    return left_out(HERE, collection_path, config)


def _program(name: str) -> Path:
    def find() -> Path | None:
        where = shutil.which(name)
        return Path(where) if where else None

    return found(find, "prometheus", f"Prometheus ({name})")


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The program that checks rules."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """The server."""
    return _program("prometheus")
