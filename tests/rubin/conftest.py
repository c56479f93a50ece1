"""Fixtures: a facility with the smallest sky, made once; a copy of it for each test that writes; an
agent.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rubin_stack import rubin_python
from stack_processes import SKY, Agent, Facility, copy_facility


@pytest.fixture(scope="session")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Facility:
    """The smallest sky: 2 tracts, 4 visits of 2 detectors. Not to be written to."""
    directory = tmp_path_factory.mktemp("sky")
    facility = Facility(
        rubin_python(), directory / "repo", directory / "truth.json", directory / "work"
    )
    made = facility.run(SKY / "make_sky.py", "--repo", facility.repo, "--small")
    assert made.returncode == 0, made.stderr
    return facility


@pytest.fixture
def facility(sky: Facility, tmp_path: Path) -> Facility:
    """A facility with a repository of its own that holds the smallest sky and nothing else."""
    return copy_facility(sky, tmp_path)


@pytest.fixture(scope="session")
def processed(sky: Facility, tmp_path_factory: pytest.TempPathFactory) -> Facility:
    """A facility where the whole pipeline was run, with the result in the chain u/all. Not to be
    written to.
    """
    facility = copy_facility(sky, tmp_path_factory.mktemp("processed"))
    order = facility.order(
        "steps",
        pipeline="$DEMO_PIPE_DIR/demo.yaml",
        where="instrument='DemoCam' AND skymap='demo_sky'",
    )
    assert order.do() == 0, order.log()
    agent = Agent(facility, {"main": facility.repo})
    agent.result(
        "chain",
        repo="main",
        chains=[{"name": "u/all", "children": ["u/steps", "DemoCam/defaults"]}],
    )
    agent.end()
    return facility


@pytest.fixture
def agent(facility: Facility) -> Iterator[Agent]:
    """An agent at a facility of its own; repository label "main"."""
    running = Agent(facility, {"main": facility.repo})
    yield running
    assert running.end() == 0
