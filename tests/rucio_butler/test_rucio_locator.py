"""Where inputs are that Rucio knows: names from data queries, and sums of replicas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_rucio_contract import section

from cmd_daemon.hooks import DriverError, Held, InputsRequest
from cmd_daemon.testing import FakeHost, facility_info
from cmd_rucio_butler import inputs
from cmd_rucio_butler.locator import RucioLocator
from cmd_rucio_butler.replicas import Replica
from cmd_rucio_butler.settings import rucio_settings
from cmd_rucio_butler.sharing import Servers

RAW = "Dataset/{instrument}/raw/Tract{tract}/*"


@pytest.mark.parametrize(
    ("where", "fixed"),
    [
        ("tract = 3", {"tract": ["3"]}),
        ("(instrument = 'LSSTCam') AND (tract = 3)", {"instrument": ["LSSTCam"], "tract": ["3"]}),
        ("tract IN (1, 3..5, 10..20:5)", {"tract": ["1", "3", "4", "5", "10", "15", "20"]}),
        ("tract in (1,2) and ((skymap='s' AND tract = 2))", {"tract": ["2"], "skymap": ["s"]}),
        ("tract = 3 OR tract = 4", {}),
        ("tract = 3 AND visit = 1 OR visit = 2", {}),
        ("skymap = 's' AND (tract = 3 OR visit = 4)", {"skymap": ["s"]}),
        ("NOT (tract = 3) AND NOT tract IN (1) AND visit > 3 AND seeing != 1", {}),
        ("instrument = 'a/*' AND tract = patch", {}),
        ("visit.day_obs = 20250101", {"visit.day_obs": ["20250101"]}),
        ("tract IN (1..100000)", {}),
        ("((tract = 3", {}),
        ("", {}),
    ],
)
def test_a_query_fixes_what_all_its_rows_share(where: str, fixed: dict[str, list[str]]) -> None:
    assert inputs.fixed(where) == fixed


def test_names_are_made_of_what_is_fixed_and_only_of_that() -> None:
    where = "instrument = 'DemoCam' AND tract IN (1, 2)"
    assert inputs.names(RAW, where) == [f"Dataset/DemoCam/raw/Tract{n}/*" for n in (1, 2)]
    assert inputs.names(RAW, "tract = 1") == []
    assert inputs.names("raw/{day_obs}", "visit.day_obs = 7") == ["raw/7"]
    assert inputs.names("refcats", "") == ["refcats"]
    many = "tract IN (1..900) AND patch IN (1..900)"
    assert inputs.names("{tract}/{patch}", many) == []


@pytest.mark.parametrize("pattern", ["a/{tract:03}", "{}", "{tract!r}", "a}", "{tract[0]}"])
def test_a_pattern_nobody_can_fill_is_refused(tmp_path: Path, pattern: str) -> None:
    info = facility_info(settings={"rucio": section(tmp_path, inputs={"raw": pattern})})
    with pytest.raises(DriverError, match="inputs"):
        rucio_settings(info)


class Replicas:
    """A server that has these replicas: by its summary, and as its files show. Counts calls."""

    def __init__(self) -> None:
        self.summary: list[Replica] = []
        self.counted: dict[str, list[Replica]] = {}
        self.calls: list[str] = []

    def within(self, scope: str) -> "Replicas":
        self.calls.append(f"scope {scope}")
        return self

    async def datasets_named(self, pattern: str) -> list[str]:
        self.calls.append(pattern)
        return [name for name in self.counted if name.startswith(pattern.removesuffix("*"))]

    async def replicas(self, names: Sequence[str]) -> list[Replica]:
        self.calls.append(f"all {len(names)}")
        return [each for each in self.summary if each.name in names]

    async def counted_replicas(self, name: str) -> list[Replica]:
        self.calls.append(name)
        return self.counted.get(name, [])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Replicas:
    """The server of all facilities."""
    made = Replicas()

    class At:
        server = made

    monkeypatch.setattr(Servers, "at", lambda self, settings, who: At)
    return made


def host(directory: Path, **changes: Any) -> FakeHost:
    """USDF and FrDF with RSEs, of which USDF tells the patterns, and UKDF without any."""
    told = {"inputs": {"raw": RAW, "ref": "refs:refcats"}, "input_rses": ["US_RAW"], **changes}
    infos = [
        facility_info("USDF", settings={"rucio": section(directory, rse="US", **told)}),
        facility_info("FrDF", settings={"rucio": section(directory, rse="FR")}),
        facility_info("UKDF"),
    ]
    return FakeHost(directory, {info.name: info for info in infos})


def asked(tract: int, *types: str) -> InputsRequest:
    where = f"instrument = 'Demo' AND tract = {tract}"
    return InputsRequest(f"t{tract}", "main", ("in",), types or ("raw",), where)


def day(tract: int, number: int) -> str:
    return f"Dataset/Demo/raw/Tract{tract}/{number}"


async def test_each_facility_has_what_its_storage_elements_have(
    tmp_path: Path, server: Replicas
) -> None:
    one, two, three = day(1, 1), day(1, 2), day(2, 1)
    # The summary knows no replica without a rule: the source of the first two is not in it.
    server.summary = [
        Replica(one, "FR", 4, 40, True),
        Replica(three, "FR", 3, 30, True),
        Replica(three, "US", 3, 30, True),
    ]
    server.counted = {
        one: [Replica(one, "FR", 4, 40, True), Replica(one, "US_RAW", 4, 40, True)],
        two: [Replica(two, "US_RAW", 6, 60, True), Replica(two, "US", 2, 20, False)],
        three: [],
    }
    locator, world = RucioLocator(), host(tmp_path)
    both = ["USDF", "FrDF"]
    first, second = await locator.locate([asked(1), asked(2)], both, world)
    assert (first.group, first.held) == ("t1", {"USDF": Held(10, 100), "FrDF": Held(4, 40)})
    assert second.held == {"USDF": Held(3, 30), "FrDF": Held(3, 30)}
    assert three not in server.calls, "what is whole everywhere needs no counting"
    assert server.calls.count("all 3") == 1
    before = len(server.calls)
    assert len(await locator.locate([asked(1), asked(2)], both, world)) == 2
    assert [each for each in server.calls[before:] if "raw" in each] == []


async def test_what_rucio_cannot_tell_in_full_it_leaves_to_others(
    tmp_path: Path, server: Replicas
) -> None:
    server.counted = {day(1, 1): [Replica(day(1, 1), "FR", 4, 40, True)]}
    locator, world = RucioLocator(), host(tmp_path)
    both = ["USDF", "FrDF"]
    assert await locator.locate([asked(1)], [*both, "UKDF"], world) == []
    assert server.calls == []
    assert await locator.locate([asked(1, "raw", "bias")], both, world) == []
    assert await locator.locate([asked(7)], both, world) == []
    assert await locator.locate([asked(1, "raw", "ref")], both, world) == []
    assert "scope refs" in server.calls
    server.counted["refcats"] = [Replica("refcats", "US", 1, 1000, True)]
    (told,) = await RucioLocator().locate([asked(1, "raw", "ref")], both, world)
    assert told.held == {"USDF": Held(1, 1000), "FrDF": Held(4, 40)}
