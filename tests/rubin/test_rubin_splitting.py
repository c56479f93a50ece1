"""The query splitter against a real Butler: visits that follow their tracts, and data of either."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from stack_processes import Agent, Facility

from cmd_daemon.hooks import DataShare, DriverError, SplitRequest
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.splitters import QuerySplitter

WHERE = "instrument = 'DemoCam' AND skymap = 'demo_sky'"


class Asked:
    """The agent's port over a real agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        return self._agent.result(op, **args)


@pytest.fixture(scope="module")
def reader(sky: Facility) -> Iterator[Agent]:
    """An agent at the smallest sky, for tests that only ask."""
    running = Agent(sky, {"main": sky.repo})
    yield running
    assert running.end() == 0


async def split(agent: Agent, params: dict[str, Any], regions: dict[str, str]) -> list[DataShare]:
    host = FakeHost(Path(), {"HERE": facility_info()}, {"HERE": Asked(agent)})
    request = SplitRequest(
        "c", "s", "HERE", "main", WHERE, ("DemoCam/defaults",), params, "tract", regions
    )
    return list(await QuerySplitter().split(request, host))


def visits_on(truth: Path, tract: int) -> list[int]:
    """The visits that lie on a tract: tracts and visits are 320 pixels wide, side by side."""
    origins = {int(v): t["origin"][0] for v, t in json.loads(truth.read_text())["visits"].items()}
    left = 320 * (tract - 1)
    return sorted(visit for visit, x in origins.items() if left - 320 < x < left + 320)


async def test_visits_follow_their_tracts(reader: Agent, sky: Facility) -> None:
    first, second = visits_on(sky.truth, 1), visits_on(sky.truth, 2)
    assert set(first) & set(second), "no visit lies on both tracts: this test proves nothing"
    params = {"by": "visit", "within": "tract", "datasets": ["raw"]}
    apart = await split(reader, params, {"tract/1": "USDF", "tract/2": "FrDF"})
    assert [(s.name, s.region) for s in apart] == [("1", "tract/1"), ("2", "tract/2")]
    assert [s.data["values"]["visit"] for s in apart] == [first, second]
    together = await split(reader, params, {"tract/1": "USDF", "tract/2": "USDF"})
    kept = [s.data["values"]["visit"] for s in together]
    assert kept == [first, [visit for visit in second if visit not in first]]


async def test_the_groups_query_gives_whole_visits(reader: Agent, sky: Facility) -> None:
    params = {"by": "visit", "within": "tract", "size": 2, "per": ["visit", "detector"]}
    shares = await split(reader, params, {"tract/1": "USDF"})
    found: list[int] = []
    for share in shares:
        assert "tract" not in share.where
        told = reader.result(
            "query_data_ids",
            repo="main",
            dimensions=["visit", "detector"],
            where=f"({WHERE}) AND ({share.where})",
        )
        place = told["dimensions"].index("visit")
        visits = sorted({row[place] for row in told["rows"]})
        assert len(told["rows"]) == 2 * len(visits), "a visit has lost a detector"
        found += visits
    assert found == visits_on(sky.truth, 1)


async def test_tracts_that_have_data(reader: Agent) -> None:
    shares = await split(reader, {"by": "tract", "size": 1, "datasets": ["raw"]}, {})
    assert [(s.name, s.region, s.where) for s in shares] == [
        ("1", "tract/1", "tract = 1"),
        ("2", "tract/2", "tract = 2"),
    ]


async def test_tracts_without_a_place(reader: Agent) -> None:
    with pytest.raises(DriverError, match="its data lie on tract 1, 2, of which none has a place"):
        await split(reader, {"by": "visit", "within": "tract"}, {})
