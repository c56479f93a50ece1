"""Scenarios that a module of tests brings itself: see `seed_scenarios.py`."""

import subprocess
from pathlib import Path

import pytest
from live_setup import rubin_python


def seed(place: Path, *scenarios: str) -> None:
    """Add outputs for these scenarios (`NAME`, `NAME=VISIT,...`) to the repositories below `place`."""
    program = Path(__file__).with_name("seed_scenarios.py")
    done = subprocess.run(
        [str(rubin_python()), str(program), str(place), *scenarios],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def scenario(name: str) -> pytest.MarkDecorator:
    """Give the test's world this scenario."""
    return pytest.mark.parametrize("world", [name], indirect=True)
