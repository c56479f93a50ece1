import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_house import House, config, serving


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """State directories to copy: of a daemon without campaigns, and with `camp` at its breakpoint.
    A fresh one for each test would spend most of the time in migrations."""
    found = {}

    async def make(name: str) -> None:
        root = tmp_path_factory.mktemp(name)
        async with serving(config(root)) as house:
            if name == "full":
                await house.prepare()
        found[name] = root / "state"

    for name in ("empty", "full"):
        asyncio.run(make(name))
    return found


@pytest.fixture
async def house(tmp_path: Path, states: dict[str, Path]) -> AsyncIterator[House]:
    """A fresh daemon without campaigns."""
    shutil.copytree(states["empty"], tmp_path / "state")
    async with serving(config(tmp_path)) as made:
        yield made


@pytest.fixture
async def full(tmp_path: Path, states: dict[str, Path]) -> AsyncIterator[House]:
    """A daemon with the campaign `camp` at its breakpoint."""
    shutil.copytree(states["full"], tmp_path / "state")
    async with serving(config(tmp_path)) as made:
        yield made
