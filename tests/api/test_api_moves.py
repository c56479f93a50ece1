"""MoveGroup and "what if": the cost before the move, who may not go where, questions on the side."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from api_house import House, config, serving, until

from cm_client import InvalidArgument, NotFound, StateRefused
from cmd_api.v1 import group_pb2 as pb
from cmd_daemon.config import Config
from cmd_daemon.hooks.facilities import InputsHeld, InputsRequest
from cmd_daemon.hooks.placement import Held
from cmd_daemon.hooks.ports import Host
from cmd_daemon.testing.world import Behaviour

FILE = """\
campaign: camp
owner: me
stack: w1
butler: {repo: demo, inputs: [a], output: u/me/camp}
facilities: [USDF, FrDF]
placement: {algorithm: balanced, region: tract, inputs: [raw]}
steps:
  one:
    pipeline: x.yaml
    split: {by: tract, values: [1, 2]}
  two:
    after: [one]
    pipeline: y.yaml
    split: {by: tract, values: [1, 2]}
"""
ONE, TWO = "campaigns/camp/steps/one/groups/1", "campaigns/camp/steps/two/groups/1"


class Locator:
    """All inputs are at USDF, a tenth of them at FrDF; UKDF has no answer."""

    name = "test"

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        held = {"USDF": Held(10, 1000), "FrDF": Held(1, 100)}
        return [InputsHeld(each.group, held, {"UKDF": "no agent"}) for each in requests]


def three(root: Path) -> Config:
    """USDF, FrDF, and UKDF, which has no stack."""
    settings = config(root)
    usdf = settings.facility["USDF"]
    for name, more in (("FrDF", {}), ("UKDF", {"stacks": {}})):
        fake = {"poll_s": 0.05, "world": root / "state" / name}
        settings.facility[name] = usdf.model_copy(update={"settings": {"fake": fake}, **more})
    return settings


@pytest.fixture
async def wide(tmp_path: Path) -> AsyncIterator[House]:
    """Step `one` is done at USDF; in step `two` both groups' process jobs failed there."""
    async with serving(three(tmp_path)) as house:
        plugins = house.daemon.engine.plugins
        plugins.locators.clear()
        plugins.locators["test"] = Locator()
        await house.client.drain_facility("facilities/FrDF", reason="first at USDF")
        house.world.behaviours[""] = Behaviour(quanta={"isr": (10, 10)})
        for tract in (1, 2):
            bad = Behaviour(quanta={"isr": (10, 7)}, message="bad", ok=False)
            house.world.behaviours[f"camp/two/{tract}/process#1"] = bad
        text = FILE.replace("owner: me", "owner: me\ndefaults: {retry: {attempts: 1}}")
        await house.client.apply_campaign(text, start=True)
        view = house.daemon.engine.view
        await until(
            lambda: [g.state for g in view.groups.values()] in (["HELD"] * 2, ["REVIEW"] * 2),
            "both groups with a person",
        )
        await house.daemon.engine.writer.flushed()
        await house.client.undrain_facility("facilities/FrDF")
        yield house


async def test_the_cost_is_told_and_nothing_is_done(wide: House) -> None:
    before = await wide.client.get_group(TWO)
    told = await wide.client.move_group(TWO, "facilities/FrDF", validate_only=True)
    assert told.group == before == await wide.client.get_group(TWO)
    cost = told.cost
    assert cost.missing_files == cost.missing_bytes == 0, "the step names no inputs of its own"
    assert cost.quanta_lost == 7
    assert list(cost.left_behind) == [ONE]
    assert any("campaign's file" not in note and "begun at USDF" in note for note in cost.notes)
    assert any("placement.inputs" in note for note in cost.notes)
    placement = told.placement
    assert (placement.facility, placement.reason) == (
        "facilities/FrDF",
        "a person asks to move it there",
    )
    assert not placement.HasField("time")
    assert {f.facility for f in placement.factors} == {"facilities/FrDF"}
    history = await wide.client.list_events(parent=TWO, page_size=1000)
    assert not [e for e in history.events if e.cause == "GroupMoved"]


async def test_inputs_that_would_have_to_come_are_counted(wide: House) -> None:
    text = FILE.replace("campaign: camp", "campaign: late").replace("u/me/camp", "u/me/late")
    wide.world.behaviours[""] = Behaviour(run_s=None)
    await wide.client.apply_campaign(text, start=True)
    group = "campaigns/late/steps/one/groups/1"
    engine = wide.daemon.engine
    await until(lambda: any(g.state == "RUNNING" for g in engine.view.groups.values()))
    await engine.writer.flushed()
    told = await wide.client.move_group(group, "facilities/FrDF", validate_only=True)
    assert (told.cost.missing_files, told.cost.missing_bytes) == (9, 900)
    assert list(told.cost.sources) == ["facilities/USDF"]
    assert any("UKDF: no agent" in note for note in told.cost.notes)
    with pytest.raises(StateRefused, match="cm hold"):
        await wide.client.move_group(group, "facilities/FrDF", reason="try")
    told = await wide.client.move_group(group, "facilities/FrDF", validate_only=True)
    assert any("would be refused" in note and "cm hold" in note for note in told.cost.notes)


async def test_a_moved_group_is_pinned_and_runs_there(wide: House) -> None:
    before = await wide.client.get_group(TWO)
    moved = await wide.client.move_group(
        TWO, "facilities/FrDF", reason="USDF is full", etag=before.etag
    )
    assert moved.group.pinned == "facilities/FrDF"
    assert moved.cost.quanta_lost == 7
    view = wide.daemon.engine.view
    await until(lambda: len(view.groups) == 1, "its end")
    await wide.daemon.engine.writer.flushed()
    group = await wide.client.get_group(TWO)
    assert (group.state, group.facility) == (pb.Group.STATE_ACCEPTED, "facilities/FrDF")
    (first, by_hand, *_) = reversed((await wide.client.list_placements(TWO)).placements)
    assert (first.facility, by_hand.algorithm, by_hand.actor) == (
        "facilities/USDF",
        "moved",
        "tester",
    )
    assert by_hand.reason == "moved to FrDF: USDF is full"
    assert (await wide.client.list_placements(TWO)).placements[
        0
    ].reason == "a person moved it there"
    attempts = (await wide.client.list_attempts(f"{TWO}/jobs/process")).attempts
    assert {a.number: a.facility for a in attempts} == {1: "facilities/USDF", 2: "facilities/FrDF"}
    with pytest.raises(StateRefused, match="final"):
        await wide.client.move_group(TWO, "facilities/USDF", reason="back")


async def test_where_a_group_can_never_run_it_does_not_go(wide: House) -> None:
    with pytest.raises(StateRefused, match="no stack 'w1'") as refused:
        await wide.client.move_group(TWO, "facilities/UKDF", reason="try")
    assert refused.value.reason == "FACILITY_UNFIT"
    told = await wide.client.move_group(TWO, "facilities/UKDF", validate_only=True)
    assert any("would be refused: UKDF is asked for" in note for note in told.cost.notes)
    assert (await wide.client.get_group(TWO)).pinned == ""
    with pytest.raises(NotFound, match="facilities/NODF"):
        await wide.client.move_group(TWO, "facilities/NODF", reason="try")
    with pytest.raises(InvalidArgument, match="say why"):
        await wide.client.move_group(TWO, "facilities/FrDF")


async def test_a_facility_that_is_down_now_is_waited_for(wide: House) -> None:
    await wide.client.drain_facility("facilities/FrDF", reason="cooling")
    told = await wide.client.move_group(TWO, "facilities/FrDF", reason="later", validate_only=False)
    assert any("takes no work now (drained by tester: cooling)" in n for n in told.cost.notes)
    why = await wide.client.explain_entity(TWO)
    view = wide.daemon.engine.view
    moved = next(g for g in view.groups.values() if g.pinned)
    await until(lambda: view.groups[moved.id].due_at is not None, "an answer of the selector")
    await wide.daemon.engine.writer.flushed()
    why = await wide.client.explain_entity(TWO)
    assert "FrDF is asked for (a person moved it there), but drained by tester" in why.summary
    assert (await wide.client.get_group(TWO)).facility == ""


async def test_what_if_a_facility_were_down(wide: House) -> None:
    before = await wide.client.get_group(TWO)
    told = await wide.client.explain_entity(TWO, without=["facilities/USDF"])
    assert told.placement.facility == "facilities/USDF"
    assert told.what_if.facility == "facilities/FrDF"
    assert not told.what_if.HasField("time")
    assert "its region tract/1 is at USDF, which was left out" in told.what_if.reason
    assert ("facilities/USDF", "excluded", False) in {
        (f.facility, f.name, f.passed) for f in told.what_if.factors
    }
    stays = await wide.client.explain_entity(TWO, without=["facilities/FrDF"])
    assert stays.what_if.facility == "facilities/USDF"
    none = await wide.client.explain_entity(TWO, without=["facilities/USDF", "facilities/FrDF"])
    assert (none.what_if.facility, "no facility fits now" in none.what_if.reason) == ("", True)
    assert not (await wide.client.explain_entity(TWO)).HasField("what_if")
    job = await wide.client.explain_entity(f"{TWO}/jobs/process", without=["facilities/USDF"])
    assert job.what_if.facility == "facilities/FrDF"
    over = await wide.client.explain_entity(ONE, without=["facilities/USDF"])
    assert "no other facility passed" in over.what_if.reason
    assert await wide.client.get_group(TWO) == before
    with pytest.raises(NotFound):
        await wide.client.explain_entity(TWO, without=["facilities/NODF"])
    with pytest.raises(InvalidArgument, match="one of its groups"):
        await wide.client.explain_entity("campaigns/camp", without=["facilities/USDF"])


async def test_a_group_that_waits_for_a_drained_facility_says_so(wide: House) -> None:
    text = FILE.replace("campaign: camp", "campaign: late").replace("u/me/camp", "u/me/late")
    engine = wide.daemon.engine
    engine.lanes.lanes["USDF", "fake"].limit = 0
    await wide.client.apply_campaign(text, start=True)
    await until(lambda: sum(g.state == "PLACED" for g in engine.view.groups.values()) == 2)
    await engine.writer.flushed()
    placed = next(g for g in engine.view.groups.values() if g.state == "PLACED")
    facility = f"facilities/{placed.facility}"
    await wide.client.drain_facility(facility, reason="cooling")
    why = await wide.client.explain_entity(engine.view.group_name(placed))
    assert "the group waits for it: placement.when_down is wait: undrain it" in why.waiting[0].text
    assert why.waiting[0].name == facility
