"""What holds for any facilities and any groups."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_cases import GB, REQUEST, TB, queue, view

from cmd_daemon.hooks import FacilityView, Placement, PlacementRequest
from cmd_daemon.hooks.placement import Held, Link
from cmd_facility.pins import read_pin
from cmd_facility.selector import FacilitySelector

NAMES = ("A", "B", "C", "D")
ALGORITHMS = ("pinned", "share", "locality", "balanced")

memories = st.sampled_from([4 * GB, 32 * GB, 480 * GB])
amounts = st.integers(0, 20 * TB)
helds = st.builds(Held, st.integers(0, 2000), amounts)
links = st.builds(
    Link, st.none() | st.floats(0, 1e10, allow_nan=False), amounts, blocked=st.booleans()
)
maybe_amount = st.none() | amounts


@st.composite
def views(draw: st.DrawFn) -> list[FacilityView]:
    """Some of four facilities, with anything known or unknown about each."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    return [
        view(
            name,
            up=draw(st.integers(0, 3)) > 0,
            slots=draw(st.integers(0, 100)),
            info={
                "memory": draw(memories),
                "stacks": draw(st.sampled_from([{"w_1": "py"}, {"w_1": "py"}, {}])),
            },
            running=draw(st.integers(0, 100)),
            queued=draw(st.integers(0, 100)),
            placed_by={"c": draw(st.integers(0, 50))},
            queues=tuple(queue(memory) for memory in draw(st.lists(memories, max_size=2))),
            free_bytes=draw(maybe_amount),
            total_bytes=draw(maybe_amount),
            throughput=draw(st.none() | st.floats(0, 1e4)),
            links=draw(st.none() | st.dictionaries(st.sampled_from(NAMES), links)),
        )
        for name in names
    ]


@st.composite
def sets(draw: st.DrawFn, shares: bool = True) -> list[PlacementRequest]:
    """Groups of one step; a region is at one facility at most, as the daemon's own record says."""
    ran = draw(st.booleans())
    homes = {region: draw(st.none() | st.sampled_from(NAMES)) for region in ("tract/1", "tract/2")}
    common: dict[str, Any] = {
        "algorithm": draw(st.sampled_from(ALGORITHMS)),
        "facilities": tuple(draw(st.just([]) | st.permutations(NAMES))),
        "pins": draw(st.sampled_from([{}, {"B": "tract IN (1, 7..9)", "C": "tract = 3"}])),
        "exclude": draw(st.frozensets(st.sampled_from(NAMES), max_size=1)),
        "params": draw(st.sampled_from([{}, {"when_down": "replace"}, {"margin": 0}])),
    }
    if shares and draw(st.booleans()):
        common["shares"] = {"A": 0.5, "B": 0.3, "C": 0.2}
    requests = []
    for number in range(draw(st.integers(1, 12))):
        region = draw(st.sampled_from([None, "tract/1", "tract/2"]))
        known = draw(st.booleans())
        requests.append(
            replace(
                REQUEST,
                **common,
                group=str(number),
                at=draw(st.sampled_from([None, None, None, "D"])),
                region=region,
                region_at=homes[region] if region else None,
                region_ran=ran,
                share={"data": {"values": {"tract": [draw(st.integers(0, 9))]}}}
                if region is None
                else {},
                memory=draw(memories),
                inputs=draw(st.dictionaries(st.sampled_from(NAMES), helds)) if known else {},
                inputs_total=draw(helds) if known else None,
                output_bytes=draw(maybe_amount),
                former=draw(st.none() | st.sampled_from(NAMES)),
            )
        )
    return requests


def select(requests: Sequence[PlacementRequest], found: Sequence[FacilityView]) -> list[Placement]:
    return list(asyncio.run(FacilitySelector().select(requests, found)))


@settings(max_examples=150, deadline=None)
@given(sets(), views())
def test_never_where_a_filter_fails_and_one_answer_for_each(
    requests: list[PlacementRequest], found: list[FacilityView]
) -> None:
    by_name = {each.info.name: each for each in found}
    placements = select(requests, found)
    assert [each.group for each in placements] == [each.group for each in requests]
    for request, placement in zip(requests, placements, strict=True):
        assert placement.reason
        if placement.facility is None:
            continue
        assert by_name[placement.facility].up
        assert placement.facility not in request.exclude
        assert not placement.permanent
        assert all(
            factor.passed for factor in placement.factors if factor.facility == placement.facility
        )


@settings(max_examples=150, deadline=None)
@given(sets(), views())
def test_at_wins_then_pins(requests: list[PlacementRequest], found: list[FacilityView]) -> None:
    for request, placement in zip(requests, select(requests, found), strict=True):
        if request.at is not None:
            assert placement.facility in (request.at, None)
            continue
        values = request.share.get("data", {}).get("values", {})
        for facility, text in request.pins.items():
            if read_pin(text).touches(request.region, values):
                assert placement.facility in (facility, None)


@settings(max_examples=150, deadline=None)
@given(sets(), views())
def test_a_region_is_at_one_facility_unless_a_person_says_otherwise(
    requests: list[PlacementRequest], found: list[FacilityView]
) -> None:
    homes: dict[str, set[str]] = {}
    for request, placement in zip(requests, select(requests, found), strict=True):
        if request.region is None or request.at is not None or placement.facility is None:
            continue
        homes.setdefault(request.region, set()).add(placement.facility)
        pinned = any(read_pin(text).touches(request.region, {}) for text in request.pins.values())
        if request.region_at is not None and request.region_ran and not pinned:
            assert placement.facility == request.region_at
    assert all(len(each) == 1 for each in homes.values())


@settings(max_examples=100, deadline=None)
@given(sets(), views(), st.randoms(use_true_random=False))
def test_the_same_answer_again_and_for_any_order_of_facilities(
    requests: list[PlacementRequest], found: list[FacilityView], random: Any
) -> None:
    first = select(requests, found)
    assert select(requests, found) == first
    shuffled = list(found)
    random.shuffle(shuffled)
    assert select(requests, shuffled) == first


@settings(max_examples=150, deadline=None)
@given(sets(shares=False), views(), st.sampled_from(NAMES))
def test_taking_away_a_facility_that_was_not_chosen_changes_nothing(
    requests: list[PlacementRequest], found: list[FacilityView], name: str
) -> None:
    by_weight = {"locality": "locality"}
    requests = [
        replace(each, algorithm=by_weight.get(each.algorithm, "balanced")) for each in requests
    ]
    before = [each.facility for each in select(requests, found)]
    if name in before:
        return
    fewer = [each for each in found if each.info.name != name]
    after = [each.facility for each in select(requests, fewer)]
    assert [one for one, two in zip(after, before, strict=True) if two is not None] == [
        two for two in before if two is not None
    ]
