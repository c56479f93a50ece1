"""What a decision costs, in sets of a thousand, with every filter and factor in it.

Counted in calls of functions, which no other work on the machine can change; `python
tests/bench/bench_placement.py` prints the time.
"""

import asyncio
import cProfile
import pstats

import pytest
from placement_sets import KINDS, costly

from cmd_facility.selector import FacilitySelector

GROUPS = 1000
LIMIT_CALLS = 100
"""Calls for each group and facility."""


def calls(kind: str, groups: int) -> float:
    """Calls of functions to place so many groups, for each group and facility."""
    requests, views = costly(kind, groups)
    profile = cProfile.Profile()
    placements = profile.runcall(asyncio.run, FacilitySelector().select(requests, views))
    assert all(each.facility is not None for each in placements)
    return pstats.Stats(profile).total_calls / groups / len(views)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decision_takes_few_calls_however_many_are_decided(kind: str) -> None:
    few, many = calls(kind, GROUPS), calls(kind, 4 * GROUPS)
    print(f"placement, {kind}: {few:.1f} calls per group and facility, {many:.1f} in a larger set")
    assert few <= LIMIT_CALLS
    assert many <= 1.2 * few
