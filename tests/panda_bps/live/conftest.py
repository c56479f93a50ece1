"""One PanDA with real pilots and one sky for all tests; each works on a group of its own."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "panda_server"), str(TESTS / "panda_bps")]

from bps_world import ROOT, BpsWorld  # noqa: E402

from cmd_panda.driver import PandaDriver  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BpsWorld]:
    """The running world. Needs a Rubin stack with BPS (CMD_RUBIN_PYTHON, else .venv-rubin)."""
    python = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
    if not python.is_file():
        pytest.fail(f"{python} is not there: run `make rubin`, or set CMD_RUBIN_PYTHON")
    made = BpsWorld(tmp_path_factory.mktemp("bps"), python)
    made.make_sky()
    yield made
    made.server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def driver(world: BpsWorld) -> AsyncIterator[PandaDriver]:
    """A driver of its own for each test."""
    made = await world.driver()
    yield made
    await made.stop()
