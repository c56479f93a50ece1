"""Visits that follow their tracts: where each is processed, in which group, under which name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cmd_daemon.hooks import DataShare, DriverError, ErrorClass, SplitRequest
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.splitters import QuerySplitter

PAIRS = [(1, 10), (1, 11), (2, 11), (2, 12), (3, 12), (3, 13), (4, 13), (4, 14)]
"""(tract, visit): the visits 11, 12 and 13 lie on two tracts each."""

HOMES = {"tract/1": "USDF", "tract/2": "USDF", "tract/3": "FrDF", "tract/4": "UKDF"}


class Pairs:
    """An agent that knows which visits lie on which tracts."""

    def __init__(
        self, rows: list[list[Any]] | None = None, names: tuple[str, ...] = ("visit",)
    ) -> None:
        self.dimensions = ["instrument", "skymap", "tract", *names]
        self.rows = rows or [["Cam", "rings", tract, visit] for tract, visit in PAIRS]
        self.asked: dict[str, Any] = {}

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        self.asked = dict(args)
        return {"dimensions": self.dimensions, "rows": self.rows, "complete": True}


async def split(
    params: dict[str, Any],
    regions: dict[str, str] | None = None,
    agent: Pairs | None = None,
) -> list[DataShare]:
    host = FakeHost(Path(), {"HERE": facility_info()}, {"HERE": agent or Pairs()})
    given = {"by": "visit", "within": "tract", **params}
    assert QuerySplitter().check(given) == []
    request = SplitRequest(
        "c",
        "calibrate",
        "HERE",
        "main",
        "skymap = 'rings'",
        ("in/a",),
        given,
        "tract",
        HOMES if regions is None else regions,
    )
    return list(await QuerySplitter().split(request, host))


def table(shares: list[DataShare]) -> list[tuple[str, str | None, str]]:
    return [(share.name, share.region, share.where) for share in shares]


async def test_a_visit_is_processed_at_each_facility_that_has_its_tracts_and_there_once() -> None:
    agent = Pairs()
    assert table(await split({}, agent=agent)) == [
        ("1", "tract/1", "visit IN (10, 11)"),  # 11 is in tract 2 of the same facility too
        ("2", "tract/2", "visit = 12"),
        ("3", "tract/3", "visit IN (12, 13)"),  # 12 is processed at USDF too
        ("4", "tract/4", "visit IN (13, 14)"),
    ]
    assert agent.asked["dimensions"] == ["tract", "visit"]
    assert agent.asked["where"] == "(skymap = 'rings')"
    at_one = await split({}, dict.fromkeys(HOMES, "USDF"))
    assert [share.where for share in at_one] == [
        "visit IN (10, 11)",
        "visit = 12",
        "visit = 13",
        "visit = 14",
    ]


async def test_no_visit_is_lost_and_none_is_twice_at_one_facility() -> None:
    for homes in (HOMES, dict.fromkeys(HOMES, "X"), {**HOMES, "tract/2": "UKDF"}):
        shares = await split({"size": 1}, homes)
        at = [(homes[str(s.region)], v) for s in shares for v in s.data["values"]["visit"]]
        assert len(set(at)) == len(at)
        assert set(at) == {(homes[f"tract/{tract}"], visit) for tract, visit in PAIRS}


async def test_groups_are_made_inside_each_region() -> None:
    rows = [
        ["Cam", "rings", tract, visit] for tract in (3, 21) for visit in range(tract, tract + 3)
    ]
    homes = {"tract/3": "A", "tract/21": "B"}
    shares = await split({"size": 2}, homes, Pairs(rows))
    assert table(shares) == [
        ("3-0001", "tract/3", "visit IN (3, 4)"),
        ("3-0002", "tract/3", "visit = 5"),
        ("21-0001", "tract/21", "visit IN (21, 22)"),
        ("21-0002", "tract/21", "visit = 23"),
    ]
    assert [share.name for share in await split({"count": 1}, homes, Pairs(rows))] == ["3", "21"]
    assert all(share.size == len(share.data["values"]["visit"]) for share in shares)


async def test_a_group_has_no_more_data_ids_than_allowed() -> None:
    rows = [
        ["Cam", "rings", tract, visit, detector]
        for tract, visit in PAIRS
        for detector in range(3)
        if (tract, detector) != (2, 0)
    ]
    agent = Pairs(rows, ("visit", "detector"))
    params = {"per": ["visit", "detector"], "max_quanta": 4}
    shares = await split(params, {"tract/1": "USDF", "tract/2": "USDF"}, agent)
    assert [(share.name, share.where, share.size) for share in shares] == [
        ("1-0001", "visit = 10", 3),
        ("1-0002", "visit = 11", 3),  # counted once, however many tracts it lies on
        ("2", "visit = 12", 2),
    ]
    assert agent.asked["dimensions"] == ["tract", "visit", "detector"]


async def test_what_lies_on_no_region_of_the_campaign_is_left_out() -> None:
    shares = await split({}, {"tract/3": "FrDF", "healpix3/4": "USDF"})
    assert table(shares) == [("3", "tract/3", "visit IN (12, 13)")]


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        (
            {},
            "step calibrate: its data lie on tract 1, 2, 3, 4, of which none has a place (none has "
            "been placed); a step split by tract, one a group, must come before it",
        ),
        ({"tract/9": "USDF"}, "(the placed ones are 9)"),
        ({"healpix3/1": "USDF"}, "(none has been placed)"),
    ],
)
async def test_regions_without_a_place(regions: dict[str, str], words: str) -> None:
    with pytest.raises(DriverError) as caught:
        await split({}, regions)
    assert words in str(caught.value)
    assert caught.value.error_class is ErrorClass.PERMANENT


async def test_a_tract_of_two_sky_maps_says_nothing() -> None:
    rows = [["Cam", "rings", 1, 10], ["Cam", "cells", 1, 11]]
    with pytest.raises(DriverError, match=r"several values of skymap \(cells, rings\)") as caught:
        await split({}, agent=Pairs(rows))
    assert caught.value.error_class is ErrorClass.PERMANENT


async def test_nothing_found_is_no_share() -> None:
    agent = Pairs()
    agent.rows = []
    assert await split({}, {}, agent) == []


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"within": 3}, "within: must be the name of a dimension"),
        ({"within": "visit"}, "within: is the dimension that is shared out"),
        ({"by": ["tract", "visit"], "within": "tract"}, "within: is the dimension"),
    ],
)
def test_problems(params: dict[str, Any], problem: str) -> None:
    problems = QuerySplitter().check({"by": "visit", **params})
    assert any(each.startswith(problem) for each in problems), problems
