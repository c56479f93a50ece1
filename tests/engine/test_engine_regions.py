"""Steps that follow the regions of the steps before them; steps that only run scripts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from engine_house import HERE, THERE, House, step, until

from cmd_daemon.hooks import DataShare, SplitRequest
from cmd_daemon.hooks.ports import Host
from cmd_daemon.kernel.policy import PlacementPlan, SplitPlan, StepPolicy

BOTH = PlacementPlan("share", (HERE, THERE), None, "tract", {HERE: 0.5, THERE: 0.5})


class Following:
    """Splitter `following`: one group for each region that has a place; remembers what it was told."""

    name = "following"
    needs_facility = True

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.asked: list[str] = []

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Takes anything."""
        return []

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """A group for each region, or those of `tracts`."""
        self.told.append(dict(request.regions))
        self.asked.append(request.facility)
        regions = [f"tract/{n}" for n in request.params.get("tracts", ())] or sorted(
            request.regions
        )
        return [DataShare(each.replace("/", "-"), region=each) for each in regions]


@pytest.fixture
def following(house: House) -> Following:
    """The splitter, known to the daemon."""
    found = house.plugins.splitters["following"] = Following()
    return found


def tracts(*after: str, **changes: Any) -> StepPolicy:
    """A step of four tracts, shared out over both facilities."""
    split = SplitPlan("following", {"tracts": [1, 2, 3, 4]})
    return step(1, *after, **{"split": split, "placement": BOTH, **changes})


async def test_a_step_is_told_where_the_regions_before_it_are(
    house: House, following: Following
) -> None:
    visits = step(1, "check", split=SplitPlan("following"), placement=BOTH)
    async with house.running():
        await house.apply(check=tracts(), visits=visits)
        await house.reach("ACCEPTED")
        ran = {name: set(world.ledger()) for name, world in house.worlds.items()}
    assert following.told[0] == {}
    homes = following.told[-1]
    assert set(homes) == {f"tract/{n}" for n in (1, 2, 3, 4)}
    assert sorted(homes.values()) == [HERE, HERE, THERE, THERE]
    for region, home in homes.items():
        group = region.replace("/", "-")
        assert {f"camp/check/{group}/run#1", f"camp/visits/{group}/run#1"} <= ran[home]


async def test_the_regions_are_known_again_after_a_restart(
    house: House, following: Following
) -> None:
    steps = {
        "check": tracts(),
        "look": StepPolicy(after=("check",), breakpoint="look"),
        "visits": step(1, "look", split=SplitPlan("following"), placement=BOTH),
    }
    async with house.running() as engine:
        ident = await house.apply(**steps)
        await until(lambda: "REVIEW" in _states(house, ident), "review")
        before = dict(engine.placing.regions[ident])
        await house.told()
    async with house.running() as engine:
        from cmd_daemon.kernel import events as ev

        look = engine.view.steps_of[ident]["look"]
        await engine.ask(ev.StepSigned(step_id=look, actor="me", reason="good"))
        await house.reach("ACCEPTED")
    assert following.told[-1] == before != {}


def _states(house: House, campaign: int) -> set[str]:
    view = house.engine.view
    return {str(view.steps[ident].state) for ident in view.steps_of[campaign].values()}


async def test_the_butler_asked_is_one_that_can_answer(house: House, following: Following) -> None:
    async with house.running() as engine:
        engine.host.agents[THERE] = object()  # type: ignore[attr-defined]
        await house.apply(check=tracts())
        await house.reach("ACCEPTED")
        named = SplitPlan("following", {"tracts": [1]}, at="ELSEWHERE")
        await house.apply("named", check=tracts(split=named))
        await house.reach("ACCEPTED", "named")
    assert following.asked == [THERE, "ELSEWHERE"]
