"""Placing with the real selector: what it is told, who is placed again, and a person's pin."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from engine_house import HERE, THERE, House, refused, step, until

from cmd_daemon.engine import inputs
from cmd_daemon.hooks import (
    DataShare,
    FacilityView,
    Held,
    InputsHeld,
    InputsRequest,
    Placement,
    PlacementRequest,
    SplitRequest,
)
from cmd_daemon.hooks.ports import Host
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.policy import PlacementPlan, RetryPolicy, SplitPlan
from cmd_daemon.testing.world import Behaviour
from cmd_facility.selector import FacilitySelector

BOTH = (HERE, THERE)
RUNS_ON = {"run_s": None}
REPLACE = {"when_down": "replace"}


class Tracts:
    """Splitter `tracts`: one group for each name in `groups`, whose region is the part before `-`."""

    name = "tracts"
    needs_facility = False

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Takes anything."""
        return []

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """The shares."""
        return [
            DataShare(name, where=f"tract = {name}", region=f"tract/{name.partition('-')[0]}")
            for name in request.params["groups"]
        ]


class Locator:
    """Locator `toy`: says of each group what the test put into `held`; keeps the questions."""

    name = "toy"

    def __init__(self) -> None:
        self.held: dict[str, Mapping[str, Held]] = {}
        self.unknown: dict[str, str] = {}
        self.asked: list[tuple[list[InputsRequest], list[str]]] = []
        self.fails = ""
        self.hangs = False

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        """One answer each."""
        self.asked.append((list(requests), list(facilities)))
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise OSError(self.fails)
        return [
            InputsHeld(each.group, self.held.get(each.where, {}), self.unknown) for each in requests
        ]


class Overheard(FacilitySelector):
    """The bundled selector; keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[PlacementRequest] = []
        self.views: list[dict[str, FacilityView]] = []

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """As the bundled one."""
        self.requests += requests
        self.views.append({view.info.name: view for view in facilities})
        return await super().select(requests, facilities)


@pytest.fixture
def selector(house: House) -> Overheard:
    """The selector of the house, and a splitter that makes regions."""
    house.plugins.splitters["tracts"] = Tracts()
    overheard = Overheard()
    for algorithm in overheard.algorithms:
        house.plugins.selectors[algorithm] = overheard
    return overheard


@pytest.fixture
def locator(house: House) -> Locator:
    """The only locator."""
    found = Locator()
    house.plugins.locators["toy"] = found
    return found


def plan(algorithm: str = "share", **more: Any) -> PlacementPlan:
    """Both facilities, half each."""
    shares = {HERE: 0.5, THERE: 0.5} if algorithm == "share" else {}
    return PlacementPlan(algorithm, BOTH, shares=more.pop("shares", shares), **more)


def tracts(*names: str, after: Sequence[str] = (), **more: Any) -> Any:
    """A step of these groups."""
    values = {"placement": plan(), **more}
    return step(1, *after, split=SplitPlan("tracts", {"groups": names}), **values)


def group(house: House, name: str, step_name: str = "one") -> Group:
    """An open group by its name."""
    (found,) = [
        g
        for g in house.engine.view.groups.values()
        if g.name == name and house.engine.view.steps[g.step_id].name == step_name
    ]
    return found


def where(house: House) -> dict[str, str]:
    """Facility by the key of each attempt that ran."""
    return {key: name for name, world in house.worlds.items() for key in world.ledger()}


async def test_inputs_are_asked_once_a_set_and_decide_by_locality(
    house: House, selector: Overheard, locator: Locator
) -> None:
    near, far = Held(10, 1000), Held(2, 200)
    locator.held = {
        "(night = 1) AND (tract = 1)": {HERE: far, THERE: near},
        "(night = 1) AND (tract = 2)": {HERE: near, THERE: far},
    }
    local = plan("locality", inputs=("raw",))
    async with house.running():
        await house.apply(
            one=tracts("1", "2", placement=local, where="night = 1", inputs=("in/raw",))
        )
        await house.reach("ACCEPTED")
    assert where(house) == {"camp/one/1/run#1": THERE, "camp/one/2/run#1": HERE}
    ((requests, facilities),) = locator.asked
    assert [(r.collections, r.datasets) for r in requests] == [(("in/raw",), ("raw",))] * 2
    assert facilities == [HERE, THERE]
    assert selector.requests[0].inputs_total == near


async def test_inputs_that_cannot_be_located_stop_nobody(
    house: House, selector: Overheard, locator: Locator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LOCATE_S", 0.2)
    counted = plan("locality", inputs=("raw",))
    async with house.running():
        locator.fails = "the registry is away"
        await house.apply(one=tracts("1", placement=counted))
        await house.reach("ACCEPTED")
        locator.fails, locator.hangs = "", True
        await house.apply("late", one=tracts("1", placement=counted))
        await house.reach("ACCEPTED", "late")
        locator.hangs, locator.unknown = False, {HERE: "no agent", THERE: "no agent"}
        await house.apply("dumb", one=tracts("1", placement=counted))
        await house.reach("ACCEPTED", "dumb")
    assert [request.inputs_total for request in selector.requests] == [None, None, None]


async def test_a_locator_that_answers_nonsense_is_not_believed(
    house: House, selector: Overheard, locator: Locator
) -> None:
    locator.held = {"tract = 1": {HERE: Held(-1, 3)}}
    async with house.running():
        await house.apply(one=tracts("1", placement=plan("locality", inputs=("raw",))))
        await house.reach("ACCEPTED")
    assert selector.requests[0].inputs_total is None


async def test_groups_at_a_facility_that_is_drained_are_placed_again_if_the_file_says_so(
    house: House, selector: Overheard
) -> None:
    house.limits[HERE] = 1
    moves, waits = plan(params=REPLACE), plan()
    async with house.running() as engine:
        await engine.ask(ev.FacilityDrained(facility=THERE))
        await house.apply(
            one=tracts("1-a", "1-b", "2", "3", placement=moves, fake=RUNS_ON),
            two=tracts("4", "5", placement=waits, fake=RUNS_ON),
        )
        await until(lambda: len(house.groups("PLACED")) == 5 and house.jobs("RUNNING"))
        assert set(house.world.ledger()) == {"camp/one/1-a/run#1"}
        await engine.ask(ev.FacilityDrained(facility=THERE, drained=False))
        await engine.ask(ev.FacilityDrained(facility=HERE, reason="moving"))
        await until(lambda: len(house.worlds[THERE].ledger()) == 2)
        assert set(house.worlds[THERE].ledger()) == {"camp/one/2/run#1", "camp/one/3/run#1"}
        # The region of what runs waits with it, and so do those whose file says nothing.
        waiting = [engine.view.groups[ident] for ident in house.groups("PLACED")]
        assert {g.name: engine.placing.waits_for_facility(g) for g in waiting} == {
            "1-b": "its region tract/1 has begun there",
            "4": "placement.when_down is wait",
            "5": "placement.when_down is wait",
        }
        assert engine.placing.regions[engine.view.campaign_ids["camp"]]["tract/2"] == THERE
        await engine.ask(ev.FacilityDrained(facility=HERE, drained=False))
        await _end_all(house)
        await house.check()
    house.ran_once(6, *house.worlds.values())
    told = [r for r in selector.requests if r.group == "2"]
    assert [(r.former, r.region_ran) for r in told] == [(None, None), (HERE, False)]


async def _end_all(house: House) -> None:
    """End whatever runs until the campaign is over."""

    def over() -> bool:
        for world in house.worlds.values():
            for attempt in list(world.attempts.values()):
                if not world.over(attempt):
                    world.end(attempt.key)
        return house.state() == "ACCEPTED"

    await until(over, "the end")


async def test_a_person_s_pin_wins_over_share_region_and_at(
    house: House, selector: Overheard
) -> None:
    house.limits[HERE] = 1
    async with house.running() as engine:
        await house.apply(
            one=tracts("1", "2", placement=plan(at=HERE), fake=RUNS_ON),
            two=tracts("3-a", "3-b", placement=plan(shares={HERE: 1.0}), fake=RUNS_ON),
        )
        await until(lambda: len(house.groups("PLACED")) == 3 and house.jobs("RUNNING"))
        runs = next(g for g in engine.view.groups.values() if g.state == "RUNNING")
        asked = ev.GroupMoved(group_id=runs.id, facility=THERE, actor="ann")
        assert "cm hold" in await refused(engine.ask(asked), Refused)
        for name, of in (("2", "one"), ("3-a", "two")):
            ident = group(house, name, of).id
            await engine.ask(ev.GroupMoved(group_id=ident, facility=THERE, actor="ann"))
        await until(lambda: len(house.worlds[THERE].ledger()) == 2)
        assert where(house)["camp/one/2/run#1"] == THERE
        regions = engine.placing.regions[engine.view.campaign_ids["camp"]]
        assert regions == {"tract/3": THERE}, "a step with `at` says nothing of regions"
        placed = await house.store.placements(group(house, "3-a", "two").id)
        assert [(p.algorithm, p.actor) for p in placed] == [
            ("share", "daemon"),
            ("moved", "ann"),
            ("share", "daemon"),
        ]
        assert placed[-1].reason == "a person moved it there"
        await _end_all(house)
        await house.check()
    house.ran_once(4, *house.worlds.values())


async def test_a_group_that_has_begun_begins_anew_elsewhere_and_after_a_restart(
    house: House, selector: Overheard
) -> None:
    house.world.behaviours["camp/one/1/second#1"] = Behaviour(ok=False, message="boom")
    one = tracts(
        "1",
        placement=plan(shares={HERE: 1.0, THERE: 0.0}),
        retry=RetryPolicy(attempts=1),
        jobs=("first", "second"),
    )
    async with house.running() as engine:
        await house.apply(one=one)
        await until(lambda: house.groups("HELD"))
        (held,) = house.groups("HELD")
        await engine.ask(ev.FacilityDrained(facility=THERE))
        await engine.ask(ev.GroupMoved(group_id=held, facility=THERE))
        await until(lambda: engine.view.groups[held].due_at is not None)
        assert [engine.view.jobs[j].state for j in group(house, "1").jobs] == ["READY", "WAITING"]
    async with house.running() as engine:
        assert (group(house, "1").pinned, group(house, "1").facility) == (THERE, None)
        assert "drained" in str(group(house, "1").reason)
        await engine.ask(ev.FacilityDrained(facility=THERE, drained=False))
        await house.reach("ACCEPTED")
        records = await house.check()
    assert where(house) == {
        "camp/one/1/first#1": HERE,
        "camp/one/1/second#1": HERE,
        "camp/one/1/first#2": THERE,
        "camp/one/1/second#2": THERE,
    }
    house.ran_once(4, *house.worlds.values())
    assert [r.to_state for r in records if r.cause == "GroupMoved"] == ["READY", "READY", "WAITING"]


async def test_counts_are_the_same_after_a_restart(house: House, selector: Overheard) -> None:
    shared = tracts("1", "2", "3", placement=plan(shares={HERE: 1.0}))
    async with house.running():
        ident = await house.apply(one=shared, two=tracts("4", after=("one",), fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        before = {n: v.placed_by for n, v in _views(house, ident).items()}
        here = group(house, "4", "two").facility
        assert before[HERE] == {"camp": 4 if here == HERE else 3}
    async with house.running():
        assert {n: v.placed_by for n, v in _views(house, ident).items()} == before
        assert _views(house, ident)[HERE].throughput is None
        await _end_all(house)
        await house.check()


async def test_a_question_on_the_side_changes_nothing(house: House, selector: Overheard) -> None:
    async with house.running() as engine:
        await house.apply(
            one=tracts("1", placement=plan(shares={HERE: 1.0, THERE: 0.2}), fake=RUNS_ON)
        )
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        told = await house.told()
        aside = await engine.placing.ask_aside(group(house, "1"), exclude=[HERE])
        assert aside.placement.facility == THERE
        assert (HERE, "excluded", False) in {
            (f.facility, f.name, f.passed) for f in aside.placement.factors
        }
        assert engine.placing.region_dropped(group(house, "1"), [HERE]) == HERE
        nowhere = await engine.placing.ask_aside(group(house, "1"), exclude=[HERE, THERE])
        assert nowhere.placement.facility is None
        at = await engine.placing.ask_aside(group(house, "1"), at=THERE)
        assert at.placement.facility == THERE
        assert await house.told() == told


def _views(house: House, ident: int) -> dict[str, FacilityView]:
    return {view.info.name: view for view in house.engine.placing.facility_views([ident])}
