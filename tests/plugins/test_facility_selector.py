"""Where groups are placed, and what is recorded of the decision."""

from dataclasses import replace
from typing import Any

import pytest
from cmd_facility.pins import read_pin
from cmd_facility.plugin import cmd_validate_campaign
from cmd_facility.selector import FacilitySelector

from cmd_daemon.hooks import CampaignReview, FacilityView, Placement, PlacementRequest, StepPolicy
from cmd_daemon.kernel.policy import PlacementPlan
from cmd_daemon.testing import facility_info

REQUEST = PlacementRequest(
    campaign="c",
    step="s",
    group="g",
    algorithm="balanced",
    facilities=("USDF", "FrDF", "UKDF"),
    at=None,
    shares={},
    pins={},
    region=None,
    region_at=None,
    share={},
    memory=4 * 10**9,
    cores=1,
    walltime_s=3600.0,
    stack="w_1",
    butler="dp2",
)


def view(name: str, *, up: bool = True, running: int = 0, **info: Any) -> FacilityView:
    fields = {"slots": 10, "stacks": {"w_1": "py"}, "butlers": {"dp2": "repo"}, **info}
    reason = "" if up else "drained by pilot1"
    return FacilityView(facility_info(name, **fields), up, reason, running, 0, {})


async def place(*views: FacilityView, request: PlacementRequest = REQUEST) -> Placement:
    (placement,) = await FacilitySelector().select([request], views)
    return placement


async def test_the_least_loaded_facility_for_each_slot() -> None:
    found = await place(
        view("USDF", running=5), view("FrDF", running=8, slots=100), view("UKDF", running=1)
    )
    assert found.facility == "FrDF"
    assert found.reason == "least load (0.08 jobs and groups for each slot)"
    loads = {factor.facility: factor.value for factor in found.factors if factor.name == "load"}
    assert loads == {"USDF": 0.5, "FrDF": 0.08, "UKDF": 0.1}


async def test_groups_of_one_set_are_spread() -> None:
    requests = [replace(REQUEST, group=str(number)) for number in range(30)]
    views = [view("USDF"), view("FrDF"), view("UKDF")]
    placements = await FacilitySelector().select(requests, views)
    assert [each.group for each in placements] == [each.group for each in requests]
    chosen = [each.facility for each in placements]
    assert {name: chosen.count(name) for name in chosen} == {"USDF": 10, "FrDF": 10, "UKDF": 10}


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"memory": 10**9}, "4.0 GB of memory asked for, it has 1.0 GB"),
        ({"cores": 0}, "1 cores asked for, it has 0"),
        ({"walltime_s": 60.0}, "3600 s of wall time asked for, it allows 60 s"),
        ({"stacks": {}}, "it has no stack 'w_1'"),
        ({"butlers": {}}, "it has no Butler repository 'dp2'"),
    ],
)
async def test_what_a_facility_lacks_waiting_does_not_mend(
    info: dict[str, Any], words: str
) -> None:
    found = await place(view("USDF", **info))
    assert (found.facility, found.permanent) == (None, True)
    assert f"USDF: {words}" in found.reason
    assert "FrDF: no facility of this daemon" in found.reason


async def test_a_facility_that_is_down_is_waited_for() -> None:
    found = await place(view("USDF", up=False), view("FrDF", stacks={}))
    assert (found.facility, found.permanent) == (None, False)
    assert "USDF: drained by pilot1" in found.reason


async def test_a_facility_the_campaign_does_not_name_is_left_out() -> None:
    found = await place(view("USDF", running=9), view("ELSEWHERE"))
    assert found.facility == "USDF"


async def test_the_step_says_at() -> None:
    request = replace(REQUEST, at="UKDF")
    found = await place(view("USDF"), view("UKDF", running=9), request=request)
    assert (found.facility, found.reason) == ("UKDF", "the step says at")
    found = await place(view("USDF"), view("UKDF", up=False), request=request)
    assert (found.facility, found.permanent) == (None, False)
    assert "drained by pilot1" in found.reason
    found = await place(view("USDF"), request=request)
    assert (found.facility, found.permanent) == (None, True)


async def test_pins_by_value_and_by_region() -> None:
    pins = {"FrDF": "tract IN (9948, 10..12)", "USDF": "tract = 7"}
    views = [view("USDF"), view("FrDF", running=9), view("UKDF")]
    share = {"data": {"values": {"tract": [11]}}}
    found = await place(*views, request=replace(REQUEST, pins=pins, share=share))
    assert (found.facility, found.reason) == ("FrDF", "pinned by tract IN (9948, 10..12)")
    found = await place(*views, request=replace(REQUEST, pins=pins, region="tract/9948"))
    assert found.facility == "FrDF"
    found = await place(*views, request=replace(REQUEST, pins=pins, region="tract/13"))
    assert found.facility == "USDF"
    both = {"data": {"values": {"tract": [7, 11]}}}
    found = await place(*views, request=replace(REQUEST, pins=pins, share=both))
    assert (found.facility, found.permanent) == (None, True)
    assert "pinned to FrDF and to USDF" in found.reason


async def test_a_region_stays_where_it_is() -> None:
    views = [view("USDF"), view("FrDF", running=9)]
    request = replace(REQUEST, region="tract/1", region_at="FrDF")
    found = await place(*views, request=request)
    assert (found.facility, found.reason) == ("FrDF", "its region tract/1 is there")


async def test_a_region_stays_together_within_one_set() -> None:
    requests = [replace(REQUEST, group=str(n), region="tract/1") for n in range(6)]
    placements = await FacilitySelector().select(requests, [view("USDF"), view("FrDF")])
    assert len({each.facility for each in placements}) == 1


@pytest.mark.parametrize("text", ["", "tract", "tract IN ()", "tract IN (1..5:0)", "a = (1)"])
def test_bad_pins(text: str) -> None:
    with pytest.raises(ValueError, match=r"pin|step"):
        read_pin(text)


def test_pins_of_texts() -> None:
    pin = read_pin("band IN ('g', 'r')")
    assert pin.touches(None, {"band": ["r"]})
    assert not pin.touches(None, {"band": ["i"]})


def test_bad_pins_are_found_before_a_campaign_is_stored() -> None:
    policy = StepPolicy(placement=PlacementPlan(pins={"FrDF": "tract 5", "USDF": "tract = 5"}))
    review = CampaignReview("c", "pilot1", ("FrDF",), {"a": policy, "b": policy}, {})
    (problem,) = cmd_validate_campaign(campaign=review)
    assert problem[0] == "placement.pins.FrDF"
    assert "'tract 5' is not a pin" in problem[1]
