"""The parts that need no browser: layouts, forecasts, actions, the watch for all, the answers kept."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.event_pb2 import Event
from cmd_api.v1.facility_pb2 import Facility
from cmd_api.v1.statistics_pb2 import Activity, ActivityOfStep, GroupCount, GroupCounts, Way
from cmd_api.v1.step_pb2 import NexusEntry
from google.protobuf.timestamp_pb2 import Timestamp

from cm_client import AsyncClient
from cm_client.forecast import forecast
from cm_web import hub as hub_module
from cm_web import states
from cm_web.actions import Action, of_facility, offered
from cm_web.hub import Hub, topics_of
from cm_web.memory import KEPT, Memory
from cm_web.pages.facilities import matrix, shares_of
from cm_web.pages.nexus import ways
from cm_web.pictures.dag import layout
from cm_web.pictures.heat import bands
from cm_web.pictures.timeline import timeline
from cm_web.rendering import number, percent, url


def test_a_graph_is_laid_out_without_overlap() -> None:
    after = {
        "a": [],
        "b": ["a"],
        "c": ["a"],
        "d": ["b", "c"],
        "e": ["a", "d"],
        "lonely": [],
        "f": ["unknown", "f", "e"],
    }
    graph = layout(after)
    place = {node.name: (node.x, node.y) for node in graph.nodes}
    assert len(set(place.values())) == len(after)
    assert {(edge.source, edge.target) for edge in graph.edges} == {
        ("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "e"), ("d", "e"), ("e", "f"),
    }  # fmt: skip
    for edge in graph.edges:
        assert place[edge.source][0] < place[edge.target][0]
        assert edge.path.startswith("M")
    for one in graph.nodes:
        for other in graph.nodes:
            apart = abs(one.x - other.x) >= graph.node_width or abs(one.y - other.y) >= 74
            assert one is other or apart, (one, other)
    assert max(x for x, _ in place.values()) + graph.node_width == graph.width


def test_a_circle_of_steps_is_drawn_all_the_same() -> None:
    graph = layout({"a": ["b"], "b": ["a"]})
    assert len(graph.nodes) == 2
    assert len(graph.edges) <= 2
    assert layout({}).width == 0


def test_a_bar_shows_one_among_ten_thousand() -> None:
    parts = states.segments({"ACCEPTED": 9999, "HELD": 1, "RUNNING": 0})
    assert [part.state for part in parts] == ["ACCEPTED", "HELD"]
    assert parts[1].width >= 0.7
    assert sum(part.width for part in parts) == pytest.approx(100, abs=0.1)
    assert states.segments({}) == []
    assert states.kind("A_STATE_OF_TOMORROW") == "wait"


def test_each_cell_has_the_worst_of_its_groups() -> None:
    step = "campaigns/c/steps/s"

    def count(facility: str, state: str, number: int, slice_: int, first: str) -> GroupCount:
        return GroupCount(
            step=step, facility=facility, state=state, count=number, slice=slice_, first=first
        )

    (band,) = bands(
        [
            count("facilities/A", "ACCEPTED", 90, 1, "0001"),
            count("facilities/A", "HELD", 1, 1, "0007"),
            count("facilities/B", "RUNNING", 5, 2, "0100"),
            count("", "READY", 9, 2, "0101"),
        ]
    )
    assert [row.facility for row in band.sorted_rows] == ["facilities/A", "facilities/B", ""]
    cell = band.rows["facilities/A"].cells[1]
    assert (cell.kind, cell.state, cell.x, cell.width) == ("person", "HELD", 0, 50)
    assert "90 ACCEPTED, 1 HELD" in cell.words


def _activity(**more: list[int]) -> Activity:
    nothing = [0] * 4
    given = {
        name: more.get(name, nothing)
        for name in ("begun", "succeeded", "failed", "cancelled", "quanta", "bytes")
    }
    part = ActivityOfStep(step="campaigns/c/steps/s", facility="facilities/A", **given)
    start = Timestamp(seconds=1_790_000_000)
    return Activity(start_time=start, span=60.0, spans=4, parts=[part])


def test_a_lane_shows_what_was_under_way() -> None:
    told = timeline(_activity(begun=[4, 0, 0, 1], succeeded=[0, 2, 0, 0], failed=[0, 1, 0, 0]))
    (lane,) = told.lanes["campaigns/c/steps/s"]
    assert told.most == 4
    assert [(block.x, block.width, block.level) for block in lane.blocks] == [
        (0, 50, 4), (50, 25, 1), (75, 25, 2),
    ]  # fmt: skip
    assert [fault.words for fault in lane.faults] == ["1 attempt failed"]
    assert told.ticks
    assert all(0 <= tick.x < 100 for tick in told.ticks)


def _campaign(state: str, groups: dict[str, int], **steps: int) -> Campaign:
    value = Campaign.State.Value(f"STATE_{state}")
    return Campaign(
        state=value, group_counts=groups, step_counts=steps, start_time=Timestamp(seconds=1000)
    )


def test_a_forecast_is_made_of_the_pace_so_far() -> None:
    told = forecast(_campaign("RUNNING", {"ACCEPTED": 20, "RUNNING": 5, "READY": 35}), now=1200)
    assert (told.left_s, told.least) == (400, False)
    assert forecast(_campaign("RUNNING", {"ACCEPTED": 20}, WAITING=2), now=1200).least
    assert forecast(_campaign("RUNNING", {"ACCEPTED": 2, "READY": 9})).note == "too early to tell"
    assert forecast(_campaign("RUNNING", {"ACCEPTED": 5, "HELD": 2})).note == "waits for a person"
    assert forecast(_campaign("PAUSED", {"ACCEPTED": 5, "READY": 2})).note == "paused"
    assert forecast(_campaign("ACCEPTED", {"ACCEPTED": 5})).left_s is None


def test_actions_are_the_commands_that_the_daemon_offers() -> None:
    found = offered(
        [
            "cm retry DRP1/coadd/9813 --missing-only",
            'cm accept DRP1/coadd/9813 --reason "..."',
            'cm move DRP1/coadd/9813 FACILITY --reason "..."',
            "cm revive USDF --retry",
            "cm why DRP1/coadd/9813",
            "rm -rf /",
            'cm sign "unclosed',
            "cm",
            "cm retry //",
        ]
    )
    group = "campaigns/DRP1/steps/coadd/groups/9813"
    assert found == [
        Action("retry", group, "missing-only"),
        Action("accept", group),
        Action("move", group),
        Action("revive", "facilities/USDF", "retry"),
    ]
    assert found[0].label == "Retry missing only"
    drained = [each.verb for each in of_facility(Facility(name="facilities/A", drained=True))]
    assert drained == ["undrain", "kill"]
    killed = [each.verb for each in of_facility(Facility(name="facilities/A", killed=True))]
    assert killed == ["revive", "revive"]


def test_shares_are_of_what_was_placed() -> None:
    step = "campaigns/c/steps/s"
    counts = GroupCounts(
        counts=[
            GroupCount(step=step, facility="facilities/A", state="RUNNING", count=30),
            GroupCount(step=step, facility="facilities/B", state="HELD", count=10),
            GroupCount(step=step, state="READY", count=99),
        ]
    )
    told = shares_of("campaigns/c", {"A": 1.0, "C": 3.0}, counts).shares
    assert told is not None
    assert [(s.facility, s.actual, s.target) for s in told] == [
        ("A", 0.75, 0.25), ("C", 0.0, 0.75), ("B", 0.25, 0.0),
    ]  # fmt: skip


def test_the_matrix_and_the_ways() -> None:
    told = matrix(
        [
            Way(source="facilities/B", destination="TAPE", bytes=100),
            Way(source="facilities/A", destination="facilities/A", bytes=900),
            Way(source="facilities/A", destination="facilities/B", bytes=20),
        ],
        ["A", "B"],
    )
    assert (told.sources, told.destinations) == (["A", "B"], ["A", "B", "TAPE"])
    assert [told.level(way) for way in told.ways.values()][0::2] == [4, 1]
    (way,) = ways(
        NexusEntry(
            movement="keep", source="A", destination="B", dataset_type=kind, made=3, ingested=3
        )
        for kind in ("x", "y")
    )
    assert way.stages[0] == ("made", 6)
    assert way.stages[-1] == ("ingested", 6)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.9999, "99.9 %"), (0.0001, "0.1 %"), (0.5, "50 %")],
)
def test_shares_in_words(value: float, words: str) -> None:
    assert percent(value) == words


def test_numbers_and_addresses() -> None:
    assert number(1234567) == "1\u202f234\u202f567"
    assert url("campaigns/a b/steps/<x>", state="HELD", facility="") == (
        "/campaigns/a%20b/steps/%3Cx%3E?state=HELD"
    )


# --- the watch for all, and the answers kept ------------------------------------------------------


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hub_module, "TICK_S", 0.01)
    return iter(())


def _hub() -> Hub:
    return Hub(cast(AsyncClient, SimpleNamespace()))


def test_an_event_is_about_all_above_it_and_its_facility() -> None:
    event = Event(name="campaigns/c/steps/s/groups/g/jobs/j", facility="USDF")
    assert topics_of(event) == {
        "events", "campaigns", "campaigns/c", "campaigns/c/steps/s", "campaigns/c/steps/s/groups/g",
        "campaigns/c/steps/s/groups/g/jobs/j", "facilities", "facilities/USDF",
    }  # fmt: skip
    assert topics_of(Event(name="facilities/A")) == {"events", "facilities", "facilities/A"}


async def test_however_much_happens_one_change_is_pending() -> None:
    hub = _hub()
    telling = asyncio.create_task(hub._tell())
    with hub.listening(["campaigns/c"]) as listener, hub.listening(["campaigns/d"]) as other:
        for number in range(1000):
            hub.mark(["campaigns/c", f"campaigns/c/steps/s{number}"])
        assert await listener.next(5)
        assert not await listener.next(0.05)
        assert not await other.next(0.0)
    assert hub._listeners == set()
    telling.cancel()


async def test_versions_are_bounded_and_never_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "REMEMBERED", 3)
    hub = _hub()
    telling = asyncio.create_task(hub._tell())
    seen = hub.version(["a"])
    with hub.listening(["z"]) as listener:
        hub.mark(["a"])
        hub.mark([f"b{number}" for number in range(9)])
        hub.mark(["z"])
        await listener.next(5)
    assert hub.version(["a"]) > seen, "a forgotten topic counts as changed"
    assert len(hub._versions) <= 3
    telling.cancel()


class Asked:
    """Counts how often it is asked; `gate` holds answers back."""

    def __init__(self) -> None:
        self.times = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> int:
        self.times += 1
        mine = self.times
        if self.gate is not None:
            await self.gate.wait()
        return mine


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_many_ask_is_asked_once_until_it_changes() -> None:
    hub = _hub()
    telling = asyncio.create_task(hub._tell())
    memory, asked = Memory(hub), Asked()
    asked.gate = asyncio.Event()
    many = [asyncio.create_task(memory.get("k", ["t"], asked)) for _ in range(9)]
    await asyncio.sleep(0)
    many[0].cancel()
    asked.gate.set()
    assert await asyncio.gather(*many[1:]) == [1] * 8
    assert await memory.get("k", ["t"], asked) == 1
    with hub.listening(["t"]) as listener:
        hub.mark(["t"])
        await listener.next(5)
    assert await memory.get("k", ["t"], asked, pause=0.0) == 2
    telling.cancel()


async def test_an_answer_from_before_the_change_is_not_given_after_it() -> None:
    hub = _hub()
    telling = asyncio.create_task(hub._tell())
    memory, asked = Memory(hub), Asked()
    asked.gate = asyncio.Event()
    early = asyncio.create_task(memory.get("k", ["t"], asked))
    await asyncio.sleep(0)
    with hub.listening(["t"]) as listener:
        hub.mark(["t"])
        await listener.next(5)
    late = asyncio.create_task(memory.get("k", ["t"], asked))
    await asyncio.sleep(0)
    asked.gate.set()
    assert (await early, await late) == (1, 2)
    assert await memory.get("k", ["t"], asked) == 2, "the older answer came last and is not kept"
    telling.cancel()


async def test_what_takes_long_is_asked_for_seldom_and_told_later() -> None:
    hub = _hub()
    telling = asyncio.create_task(hub._tell())
    clock = Clock()
    memory = Memory(hub, clock)

    async def dear() -> float:
        clock.now += 0.004
        return clock.now

    first = await memory.get("k", ["t"], dear, pause=10)
    with hub.listening(["t"]) as listener:
        hub.mark(["t"])
        await listener.next(5)
        assert await memory.get("k", ["t"], dear, pause=10) == first, "too dear to ask again"
        assert await listener.next(5), "told when it can be asked again"
        clock.now += 0.05
        assert await memory.get("k", ["t"], dear, pause=10) > first
    telling.cancel()


async def test_what_is_not_there_in_time_is_told_when_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cm_web.memory.SOON_S", 0.01)
    hub = _hub()
    telling = asyncio.create_task(hub._tell())
    memory, asked = Memory(hub), Asked()
    asked.gate = asyncio.Event()
    with hub.listening(["t"]) as listener:
        assert await memory.soon("k", ["t"], asked) is None
        asked.gate.set()
        assert await listener.next(5)
        assert await memory.soon("k", ["t"], asked) is not None
    telling.cancel()


async def test_a_failure_is_not_kept_and_answers_are_bounded() -> None:
    memory = Memory(_hub())

    async def bad() -> Any:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await memory.get("k", ["t"], bad)
    for number_ in range(KEPT + 50):
        await memory.get(number_, ["t"], Asked())
    assert len(memory._kept) <= KEPT
    assert memory._asked == {}
