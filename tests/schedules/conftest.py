"""Schedules run in the house of the engine's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

from engine_house import House

from cmd_local.plugin import cmd_register_splitters


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> House:
    """An engine over a real store, with fake worlds and a clock that hurries."""
    made = House(tmp_path, database_url)
    made.plugins.splitters |= {each.name: each for each in cmd_register_splitters()}
    return made
