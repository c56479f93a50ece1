"""Who decides: a person's word, the region, then the algorithm; and the numbers of 2026."""

from dataclasses import replace
from typing import Any

import pytest
from placement_cases import (
    GB,
    NAMES,
    REQUEST,
    SHARES,
    counted,
    factor,
    many,
    place,
    select,
    three,
    view,
)

from cmd_daemon.hooks import CampaignReview, Placement, StepPolicy
from cmd_daemon.hooks.placement import Held, Link
from cmd_daemon.kernel.policy import PlacementPlan
from cmd_facility.pins import read_pin
from cmd_facility.plugin import cmd_validate_campaign

TOTAL = Held(100, 10**12)


def by_values(**values: list[int]) -> dict[str, Any]:
    """A group's data share with these values by dimension."""
    return {"data": {"values": values}}


def near_shares(counts: dict[str | None, int], total: int) -> bool:
    """Whether every facility is within half a percent of its share."""
    return all(abs(counts.get(name, 0) / total - SHARES[name]) <= 0.005 for name in NAMES)


@pytest.mark.parametrize("algorithm", ["share", "balanced", "locality"])
async def test_ten_thousand_groups_by_share(algorithm: str) -> None:
    placements = await select(many(10_000, algorithm=algorithm, shares=SHARES), three())
    assert near_shares(counted(placements), 10_000), counted(placements)


@pytest.mark.parametrize("algorithm", ["share", "balanced"])
async def test_ten_sets_of_a_thousand_by_share(algorithm: str) -> None:
    placed = dict.fromkeys(NAMES, 0)
    for _ in range(10):
        views = three(**{name: {"placed_by": {"c": placed[name]}} for name in NAMES})
        placements = await select(many(1000, algorithm=algorithm, shares=SHARES), views)
        for name, count in counted(placements).items():
            assert name is not None
            placed[name] += count
    assert sum(placed.values()) == 10_000
    assert near_shares(dict(placed.items()), 10_000), placed


async def test_each_campaign_has_shares_of_its_own() -> None:
    views = three(USDF={"placed_by": {"other": 5000}})
    requests = many(1000, algorithm="share", shares=SHARES)
    opposite = {"USDF": 0.1, "FrDF": 0.1, "UKDF": 0.8}
    mixed = [
        each
        for pair in zip(
            requests,
            many(1000, campaign="d", algorithm="share", shares=opposite),
            strict=True,
        )
        for each in pair
    ]
    placements = await select(mixed, views)
    assert near_shares(counted(placements[::2]), 1000)
    assert counted(placements[1::2]) == {"USDF": 100, "FrDF": 100, "UKDF": 800}


async def test_pinned_groups_count_in_the_shares() -> None:
    pins = {"UKDF": "tract IN (0..199)"}
    requests = [
        replace(each, share=by_values(tract=[number]))
        for number, each in enumerate(many(1000, algorithm="share", shares=SHARES, pins=pins))
    ]
    placements = await select(requests, three())
    assert all(each.facility == "UKDF" for each in placements[:200])
    assert near_shares(counted(placements), 1000)


async def test_while_one_is_down_the_others_take_over_by_share() -> None:
    placements = await select(
        many(6000, algorithm="share", shares=SHARES), three(FrDF={"up": False})
    )
    assert counted(placements) == {"USDF": 3500, "UKDF": 2500}


async def test_a_facility_without_a_share_gets_nothing() -> None:
    shares = {"USDF": 0.5, "FrDF": 0.5}
    found = await place(three(), shares=shares)
    assert found.facility in shares
    found = await place(three(USDF={"up": False}, FrDF={"up": False}), shares=shares)
    assert (found.facility, found.permanent) == (None, False)
    assert "UKDF: the campaign gives it no share" in found.reason
    found = await place([view("UKDF")], shares=shares)
    assert (found.facility, found.permanent) == (None, True)
    found = await place(three(), shares=shares, at="UKDF")
    assert found.facility == "UKDF"


async def test_without_shares_by_what_each_can_do() -> None:
    placements = await select(many(1650), three())
    counts = counted(placements)
    assert all(abs(counts[name] / 1650 - part) < 0.01 for name, part in _by_slots()), counts


def _by_slots() -> list[tuple[str, float]]:
    return [("USDF", 6 / 16.5), ("FrDF", 3 / 16.5), ("UKDF", 7.5 / 16.5)]


async def test_locality_goes_where_most_bytes_are() -> None:
    links = {name: Link(1e8) for name in NAMES}
    views = three(
        USDF={"links": links, "running": 10**6}, FrDF={"links": links}, UKDF={"links": links}
    )
    inputs = {"USDF": Held(60, 6 * 10**11), "FrDF": Held(40, 4 * 10**11)}
    found = await place(
        views,
        algorithm="locality",
        inputs=inputs,
        inputs_total=TOTAL,
        shares={"USDF": 0.1, "FrDF": 0.8, "UKDF": 0.1},
    )
    assert found.facility == "USDF"
    assert factor(found, "USDF", "score")[::2] == (0.6, "the part of the input bytes held there")
    assert factor(found, "UKDF", "score")[0] == 0.0


async def test_balanced_lets_locality_decide_within_the_shares() -> None:
    links = {name: Link(1e8) for name in NAMES}
    views = three(**{name: {"links": links, "placed_by": {"c": 1000}} for name in NAMES})
    equal = dict.fromkeys(NAMES, 1 / 3)
    for home in NAMES:
        found = await place(views, inputs={home: TOTAL}, inputs_total=TOTAL, shares=equal)
        assert found.facility == home
    far = three(
        USDF={"links": links, "placed_by": {"c": 1300}},
        FrDF={"links": links, "placed_by": {"c": 900}},
        UKDF={"links": links, "placed_by": {"c": 900}},
    )
    found = await place(far, inputs={"USDF": TOTAL}, inputs_total=TOTAL, shares=equal)
    assert found.facility != "USDF"


async def test_the_score_is_the_product() -> None:
    links = {name: Link(1e8, 10**11) for name in NAMES}
    views = three(**{name: {"links": links} for name in NAMES})
    found = await place(views, inputs={"FrDF": TOTAL}, inputs_total=TOTAL, shares=SHARES)
    for name in NAMES:
        values = [
            factor(found, name, each)[0] for each in ("share", "throughput", "locality", "network")
        ]
        product = values[0] * values[1] * values[2] * values[3]
        assert factor(found, name, "score")[0] == pytest.approx(product, abs=1e-6)


async def test_pinned_without_a_pin_is_for_a_person() -> None:
    found = await place(three(), algorithm="pinned")
    assert (found.facility, found.permanent) == (None, True)
    assert "no pin names this group's data" in found.reason
    found = await place(three(), algorithm="pinned", facilities=("FrDF",))
    assert found.facility == "FrDF"
    found = await place(three(), algorithm="pinned", region="tract/1", region_at="UKDF")
    assert found.facility == "UKDF"


async def test_the_step_says_at() -> None:
    pins = {"FrDF": "tract = 1"}
    group = {"region": "tract/1", "region_at": "USDF", "pins": pins, "at": "UKDF"}
    found = await place(three(), **group)
    assert (found.facility, found.reason) == ("UKDF", "the step says at")
    found = await place(three(UKDF={"up": False}), **group)
    assert (found.facility, found.permanent) == (None, False)
    assert "drained by pilot1" in found.reason
    found = await place([view("USDF")], **group)
    assert (found.facility, found.permanent) == (None, True)


async def test_at_does_not_take_its_region_along() -> None:
    there = replace(REQUEST, at="UKDF", region="tract/1")
    after = replace(REQUEST, region="tract/1", shares={"USDF": 1.0})
    placements = await select([there, after], three())
    assert [each.facility for each in placements] == ["UKDF", "USDF"]


async def test_pins_by_value_and_by_region() -> None:
    pins = {"FrDF": "tract IN (9948, 10..12)", "USDF": "tract = 7"}
    found = await place(three(), pins=pins, share=by_values(tract=[11]))
    assert (found.facility, found.reason) == ("FrDF", "pinned by tract IN (9948, 10..12)")
    found = await place(three(), pins=pins, region="tract/9948", region_at="UKDF")
    assert found.facility == "FrDF"
    found = await place(three(FrDF={"up": False}), pins=pins, region="tract/9948")
    assert (found.facility, found.permanent) == (None, False)
    found = await place(three(), pins=pins, share=by_values(tract=[7, 11]))
    assert (found.facility, found.permanent) == (None, True)
    assert "pinned to FrDF and to USDF" in found.reason


async def test_a_pin_ties_the_groups_of_its_region_that_come_before_it() -> None:
    pins = {"FrDF": "visit = 5"}
    free = replace(REQUEST, group="a", region="tract/1", pins=pins, shares={"USDF": 1.0})
    pinned = replace(free, group="b", share=by_values(visit=[5]))
    placements = await select([free, pinned], three())
    assert [each.facility for each in placements] == ["FrDF", "FrDF"]


async def test_a_region_stays_where_it_is() -> None:
    found = await place(
        three(), region="tract/1", region_at="FrDF", shares={"USDF": 0.9, "FrDF": 0.1}
    )
    assert (found.facility, found.reason) == ("FrDF", "its region tract/1 is there")


async def test_regions_stay_together_within_one_set_and_keep_the_shares() -> None:
    requests = [
        replace(each, region=f"tract/{number % 2000}")
        for number, each in enumerate(many(10_000, shares=SHARES))
    ]
    placements = await select(requests, three())
    homes: dict[str | None, set[str | None]] = {}
    for request, found in zip(requests, placements, strict=True):
        homes.setdefault(request.region, set()).add(found.facility)
    assert len(homes) == 2000
    assert all(len(each) == 1 for each in homes.values())
    assert near_shares(counted(placements), 10_000)


async def test_a_region_goes_where_all_its_groups_fit() -> None:
    small = replace(REQUEST, group="a", region="tract/1", shares={"UKDF": 0.9, "USDF": 0.1})
    large = replace(small, group="b", memory=480 * GB)
    views = three(USDF={"info": {"memory": 500 * GB}})
    placements = await select([small, large], views)
    assert [each.facility for each in placements] == ["USDF", "USDF"]


async def _region_at_a_facility_that_is_down(ran: bool | None, **params: Any) -> list[Placement]:
    request = replace(REQUEST, region="tract/1", region_at="FrDF", region_ran=ran, params=params)
    return await select([request, replace(request, group="h")], three(FrDF={"up": False}))


async def test_the_regions_of_a_facility_that_is_down_wait() -> None:
    for ran, params in (
        (False, {}),
        (True, {"when_down": "replace"}),
        (None, {"when_down": "replace"}),
        (False, {"when_down": "wait"}),
    ):
        placements = await _region_at_a_facility_that_is_down(ran, **params)
        assert counted(placements) == {None: 2}
        assert not any(each.permanent for each in placements)
        assert "its region tract/1 is there" in placements[0].reason


async def test_a_region_that_never_ran_is_replaced_if_the_campaign_says_so() -> None:
    placements = await _region_at_a_facility_that_is_down(False, when_down="replace")
    assert None not in counted(placements)
    assert len(counted(placements)) == 1


async def test_a_challenger_must_beat_the_former_facility_by_the_margin() -> None:
    views = [view("USDF", slots=100, running=10), view("FrDF", slots=100)]
    assert (await place(views)).facility == "FrDF"
    found = await place(views, former="USDF")
    assert found.facility == "USDF"
    assert found.reason.startswith("stays where it was: FrDF scores 1.1 times as much")
    assert factor(found, "USDF", "hysteresis")[0] == 1.2
    found = await place(views, former="USDF", params={"margin": 0.05})
    assert found.facility == "FrDF"
    assert found.reason.startswith("leaves USDF")
    found = await place(views, former="UKDF")
    assert found.facility == "FrDF"
    found = await place([view("USDF", up=False), view("FrDF")], former="USDF")
    assert found.facility == "FrDF"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"margin": -1}, "margin must be a number"),
        ({"margin": True}, "margin must be a number"),
        ({"when_down": "panic"}, "when_down must be wait or replace"),
        ({"marge": 1}, "no parameter 'marge'"),
    ],
)
async def test_bad_parameters_are_for_a_person(params: dict[str, Any], words: str) -> None:
    found = await place(three(), params=params)
    assert (found.facility, found.permanent) == (None, True)
    assert words in found.reason


@pytest.mark.parametrize("text", ["", "tract", "tract IN ()", "tract IN (1..5:0)", "a = (1)"])
async def test_bad_pins(text: str) -> None:
    with pytest.raises(ValueError, match=r"pin|step"):
        read_pin(text)
    found = await place(three(), pins={"FrDF": text})
    assert (found.facility, found.permanent) == (None, True)


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


def test_pinned_without_pins_is_found_before_a_campaign_is_stored() -> None:
    free = PlacementPlan(algorithm="pinned", facilities=NAMES)
    fine = (replace(free, pins={"USDF": "tract = 5"}), replace(free, facilities=("USDF",)))
    for plan in (*fine, replace(free, at="USDF"), replace(free, algorithm="balanced")):
        steps = {"a": StepPolicy(placement=plan)}
        review = CampaignReview("c", "pilot1", NAMES, steps, {})
        assert cmd_validate_campaign(campaign=review) == []
    review = CampaignReview("c", "pilot1", NAMES, {"a": StepPolicy(placement=free)}, {})
    (problem,) = cmd_validate_campaign(campaign=review)
    assert problem[0] == "placement.algorithm"
    assert "'pinned' needs pins" in problem[1]


def test_parameters_are_read_before_a_campaign_is_stored() -> None:
    bad = PlacementPlan(algorithm="balanced", params={"when_down": "run away"})
    fine = replace(bad, params={"when_down": "replace", "margin": 0.5})
    other = replace(bad, algorithm="somebody else's")
    steps = {n: StepPolicy(placement=plan) for n, plan in enumerate((bad, fine, other))}
    review = CampaignReview("c", "pilot1", NAMES, {str(n): p for n, p in steps.items()}, {})
    (problem,) = cmd_validate_campaign(campaign=review)
    assert problem == ("placement.params", "the placement's when_down must be wait or replace")


async def test_where_a_person_has_moved_a_group_wins_over_all_and_says_so() -> None:
    found = await place(
        three(),
        at="UKDF",
        at_why="a person moved it there",
        region="tract/1",
        region_at="USDF",
        pins={"FrDF": "tract = 1"},
    )
    assert (found.facility, found.reason) == ("UKDF", "a person moved it there")
    assert factor(found, "UKDF", "chosen") == (1.0, True, "a person moved it there")


async def test_a_decision_claims_the_bytes_the_storage_filter_asked_for() -> None:
    found = await place(three(), inputs={"USDF": Held(1, 10)}, inputs_total=Held(1, 10))
    assert (found.facility, found.claims) == ("USDF", 100)
    assert (await place(three())).claims is None
