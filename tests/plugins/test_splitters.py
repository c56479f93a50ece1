"""Tables of splits: names, data queries, regions, sizes, and problems with parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy
import pytest

from cmd_daemon.hooks import DataShare, DriverError, ErrorClass, Hooks, SplitRequest, Splitter
from cmd_daemon.testing import FakeHost, facility_info
from cmd_facility import plugin as facility_plugin
from cmd_local import plugin
from cmd_local.splitters import NoSplitter, QuerySplitter, ValuesSplitter


class Rows:
    """An agent that answers every question with these rows and remembers it."""

    def __init__(self, dimensions: list[str], rows: list[list[Any]], **more: Any) -> None:
        self.answer = {"dimensions": dimensions, "rows": rows, "complete": True, **more}
        self.asked: list[dict[str, Any]] = []

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        assert op == "query_data_ids"
        self.asked.append(dict(args))
        return self.answer


async def split(
    splitter: Splitter, params: dict[str, Any], agent: Rows | None = None, region: str | None = None
) -> list[DataShare]:
    agents = {"HERE": agent} if agent else {}
    host = FakeHost(Path(), {"HERE": facility_info()}, agents)
    where = "instrument = 'Cam'"
    request = SplitRequest("c", "s", "HERE", "main", where, ("in/a",), params, region)
    return list(await splitter.split(request, host))


async def test_none_is_one_group() -> None:
    (share,) = await split(NoSplitter(), {})
    assert (share.name, share.where, share.region) == ("all", "", None)
    assert NoSplitter().check({"by": "tract"})


@pytest.mark.parametrize(
    ("params", "names", "wheres"),
    [
        (
            {"by": "tract", "values": [9813, 9697]},
            ["9813", "9697"],
            ["tract = 9813", "tract = 9697"],
        ),
        ({"by": "band", "values": ["r", "i"]}, ["r", "i"], ["band = 'r'", "band = 'i'"]),
        (
            {"by": "visit", "ranges": ["1..100"], "size": 40},
            ["0001", "0002", "0003"],
            ["visit IN (1..40)", "visit IN (41..80)", "visit IN (81..100)"],
        ),
        (
            {"by": "visit", "ranges": ["5..9:2"], "values": [1, 2], "count": 2},
            ["0001", "0002"],
            ["visit IN (1, 2)", "visit IN (5, 7, 9)"],
        ),
        ({"by": "visit", "values": [3, 1, 2, 9], "count": 1}, ["0001"], ["visit IN (1..3, 9)"]),
        (
            {"by": "visit", "values": [1, 2], "count": 5},
            ["0001", "0002"],
            ["visit = 1", "visit = 2"],
        ),
        ({"by": "visit", "values": [7], "size": 1}, ["7"], ["visit = 7"]),
        ({"by": "detector", "ranges": ["-2..0"], "size": 9}, ["0001"], ["detector IN (-2..0)"]),
    ],
)
async def test_values(params: dict[str, Any], names: list[str], wheres: list[str]) -> None:
    assert ValuesSplitter().check(params) == []
    shares = await split(ValuesSplitter(), params)
    assert [share.name for share in shares] == names
    assert [share.where for share in shares] == wheres


async def test_regions_and_data() -> None:
    shares = await split(ValuesSplitter(), {"by": "tract", "values": [1, 2]})
    assert [share.region for share in shares] == ["tract/1", "tract/2"]
    assert shares[0].data == {"values": {"tract": [1]}}
    (both,) = await split(ValuesSplitter(), {"by": "tract", "values": [1, 2], "size": 2})
    assert (both.region, both.size) == (None, 2)
    (other,) = await split(ValuesSplitter(), {"by": "healpix3", "values": [4]}, region="healpix3")
    assert other.region == "healpix3/4"


async def test_names_are_safe_and_unique() -> None:
    shares = await split(ValuesSplitter(), {"by": "band", "values": ["a b", "a/b", "a b/", "ok"]})
    names = [share.name for share in shares]
    assert len(set(names)) == 4
    assert names[3] == "ok"
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in names), names


async def test_a_running_number_has_room_for_all() -> None:
    shares = await split(ValuesSplitter(), {"by": "visit", "ranges": ["1..20000"], "size": 2})
    assert (shares[0].name, shares[-1].name) == ("00001", "10000")


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"values": [1]}, "by: must be the name of a dimension"),
        ({"by": "tract OR 1=1", "values": [1]}, "by: must be the name of a dimension"),
        ({"by": "tract"}, "values: no values are given"),
        ({"by": "tract", "values": []}, "values: no values are given"),
        ({"by": "tract", "values": 5}, "values: must be a list"),
        ({"by": "tract", "values": [1.5]}, "values: must be whole numbers or texts, not 1.5"),
        ({"by": "tract", "values": [True]}, "values: must be whole numbers or texts, not True"),
        ({"by": "tract", "values": [1, "1"]}, "values: given more than once: 1"),
        ({"by": "tract", "values": [3], "ranges": ["1..5"]}, "values: given more than once: 3"),
        ({"by": "band", "values": ["r'"]}, 'values: "r\'" has a quote'),
        ({"by": "tract", "ranges": ["5..1"]}, "ranges: '5..1' is empty"),
        ({"by": "tract", "ranges": ["1-5"]}, "ranges: '1-5' is not a range"),
        ({"by": "tract", "ranges": ["1..9:0"]}, "ranges: '1..9:0' is empty"),
        ({"by": "tract", "ranges": ["1..99999999"]}, "ranges: '1..99999999' has more than"),
        ({"by": "tract", "values": [1], "size": 0}, "size: must be a whole number from 1 on"),
        ({"by": "tract", "values": [1], "count": True}, "count: must be a whole number"),
        ({"by": "tract", "values": [1], "size": 1, "count": 1}, "count: cannot be given together"),
        ({"by": "tract", "values": [1], "sizes": 1}, "sizes: unknown key; there are by"),
    ],
)
async def test_problems_of_values(params: dict[str, Any], problem: str) -> None:
    problems = ValuesSplitter().check(params)
    assert any(each.startswith(problem) for each in problems), problems
    with pytest.raises(DriverError) as caught:
        await split(ValuesSplitter(), params)
    assert caught.value.error_class is ErrorClass.PERMANENT


VISITS = [["Cam", visit] for visit in (5, 3, 1, 2, 4)]


@pytest.mark.parametrize(
    ("params", "names", "wheres", "sizes"),
    [
        (
            {"by": "visit", "size": 2},
            ["0001", "0002", "0003"],
            ["visit IN (1, 2)", "visit IN (3, 4)", "visit = 5"],
            [2, 2, 1],
        ),
        (
            {"by": "visit", "count": 2},
            ["0001", "0002"],
            ["visit IN (1, 2)", "visit IN (3..5)"],
            [2, 3],
        ),
        ({"by": "visit", "size": 400}, ["0001"], ["visit IN (1..5)"], [5]),
        (
            {"by": "visit"},
            ["1", "2", "3", "4", "5"],
            [f"visit = {n}" for n in range(1, 6)],
            [1] * 5,
        ),
    ],
)
async def test_query(
    params: dict[str, Any], names: list[str], wheres: list[str], sizes: list[int]
) -> None:
    agent = Rows(["instrument", "visit"], VISITS)
    shares = await split(QuerySplitter(), params, agent)
    assert [share.name for share in shares] == names
    assert [share.where for share in shares] == wheres
    assert [share.size for share in shares] == sizes
    assert agent.asked[0]["where"] == "(instrument = 'Cam')"
    assert agent.asked[0]["repo"] == "main"


async def test_a_group_has_no_more_data_ids_than_allowed() -> None:
    rows = [
        ["Cam", visit, detector]
        for visit, n in ((1, 3), (2, 3), (3, 9), (4, 1))
        for detector in range(n)
    ]
    params = {"by": "visit", "per": ["visit", "detector"], "max_quanta": 6, "datasets": ["raw"]}
    agent = Rows(["instrument", "visit", "detector"], rows)
    shares = await split(QuerySplitter(), params, agent)
    assert [share.where for share in shares] == ["visit IN (1, 2)", "visit = 3", "visit = 4"]
    assert [share.size for share in shares] == [6, 9, 1]
    assert agent.asked[0]["dimensions"] == ["visit", "detector"]
    assert (agent.asked[0]["datasets"], agent.asked[0]["collections"]) == (["raw"], ["in/a"])


async def test_several_dimensions() -> None:
    rows = [["map", 1, 0], ["map", 1, 1], ["map", 1, 2], ["map", 2, 0]]
    agent = Rows(["skymap", "tract", "patch"], rows)
    shares = await split(QuerySplitter(), {"by": ["tract", "patch"], "count": 1}, agent)
    assert [share.where for share in shares] == [
        "(tract = 1 AND patch IN (0..2)) OR (tract = 2 AND patch = 0)"
    ]
    shares = await split(QuerySplitter(), {"by": ["tract", "patch"]}, agent)
    assert [share.name for share in shares] == ["1_0", "1_1", "1_2", "2_0"]
    assert {share.region for share in shares} == {"tract/1", "tract/2"}


async def test_nothing_found_is_no_share() -> None:
    assert await split(QuerySplitter(), {"by": "visit", "count": 3}, Rows(["visit"], [])) == []


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (Rows(["visit"], [[1]], complete=False), "more than 1 data ids"),
        (Rows(["tract"], [[1]]), "no answer that can be used"),
        (Rows(["visit"], [[]]), "no answer that can be used"),
        (Rows(["visit"], [["o'neil"]]), "quote"),
    ],
)
async def test_answers_that_cannot_be_used(agent: Rows, words: str) -> None:
    with pytest.raises(DriverError, match=words) as caught:
        await split(QuerySplitter(), {"by": "visit"}, agent)
    assert caught.value.error_class is ErrorClass.PERMANENT


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "by: must be the name of a dimension"),
        ({"by": []}, "by: names no dimension"),
        ({"by": ["visit", "visit"]}, "by: names a dimension more than once"),
        ({"by": "visit", "per": 3}, "per: must be the name of a dimension"),
        ({"by": "visit", "size": 1, "max_quanta": 2}, "max_quanta: cannot be given together"),
        ({"by": "visit", "datasets": "raw"}, "datasets: must be a list"),
        ({"by": "visit", "where": 1}, "where: must be a text"),
        ({"by": "visit", "values": [1]}, "values: unknown key"),
    ],
)
def test_problems_of_query(params: dict[str, Any], problem: str) -> None:
    problems = QuerySplitter().check(params)
    assert any(each.startswith(problem) for each in problems), problems


def test_the_plugins_load_as_a_strangers_would() -> None:
    manager = pluggy.PluginManager("cmd_daemon")
    manager.add_hookspecs(Hooks)
    for module in (plugin, facility_plugin):
        manager.register(module)
    manager.check_pending()
    splitters = [each for found in manager.hook.cmd_register_splitters() for each in found]
    assert {splitter.name for splitter in splitters} == {"none", "values", "query"}
    drivers = [each for found in manager.hook.cmd_register_drivers() for each in found]
    assert {driver.name for driver in drivers} == {"local", "butler", "mover"}
    assert [each.name for found in manager.hook.cmd_register_agents() for each in found] == [
        "butler"
    ]
