"""The formulas, number by number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmd_daemon.hooks.placement import Held, Link
from cmd_facility import weights

TB = 10**12


def test_the_deficit_is_target_less_existing() -> None:
    assert weights.share_deficit(0.40, 0.35) == pytest.approx(0.05)
    assert weights.share_deficit(0.25, 0.35) == pytest.approx(-0.10)


def test_half_a_percent_weighs_e_and_the_first_groups_weigh_less() -> None:
    assert weights.share_weight(weights.share_exponent(0.005, 10_000)) == pytest.approx(math.e)
    assert weights.share_weight(weights.share_exponent(0.0, 10_000)) == 1.0
    assert weights.share_weight(weights.share_exponent(0.4, 0)) == pytest.approx(math.exp(0.4))
    assert weights.share_weight(1e9) == pytest.approx(math.exp(5))
    assert weights.share_weight(-1e9) == pytest.approx(math.exp(-5))


def test_throughput_of_jedi_with_slots_and_history() -> None:
    assert weights.throughput_weight(100, 0, 0, 0, None) == pytest.approx(101 / 102)
    assert weights.throughput_weight(100, 20, 60, 0, None) == pytest.approx(21 / 102)
    assert weights.throughput_weight(100, 0, 48, 0, None) == pytest.approx(1 / 50)
    assert weights.throughput_weight(100, 0, 0, 98, None) == pytest.approx(101 / 200)
    assert weights.throughput_weight(100, 5, 5, 0, 9.0) == pytest.approx(10 / 21)
    assert weights.throughput_weight(0, 0, 0, 0, -1.0) == pytest.approx(1 / 2)


def test_no_leap_when_the_last_slot_is_taken() -> None:
    full = weights.throughput_weight(100, 100, 0, 0, None)
    one_waits = weights.throughput_weight(100, 100, 1, 0, None)
    assert 0 < full - one_waits < 0.01


@given(
    st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000)
)
def test_more_work_in_hand_never_weighs_more(
    slots: int, running: int, queued: int, given_there: int
) -> None:
    now = weights.throughput_weight(slots, running, queued, given_there, None)
    then = weights.throughput_weight(slots, running, queued, given_there + 1, None)
    assert 0 < then < now < 1


def test_locality_of_jedi() -> None:
    total = Held(200, 10 * TB)
    assert weights.locality_weight(total, total) == 2.0
    assert weights.locality_weight(Held(0, 0), total) == pytest.approx(1 / 3)
    assert weights.locality_weight(Held(100, 5 * TB), total) == pytest.approx(1.5 / 2)
    assert weights.locality_weight(Held(0, 0), Held(0, 0)) == 1.0
    assert weights.locality_weight(Held(999, 99 * TB), total) == 2.0


def test_network_is_half_queue_half_pace_of_the_best_way() -> None:
    hour = 3600 * 10**8
    idle, busy = Link(1e8), Link(1e8, backlog_bytes=3 * hour)
    assert weights.network_weight(hour, [idle]) == pytest.approx(0.5 * (1 + 1 / 2))
    assert weights.network_weight(hour, [busy]) == pytest.approx(0.5 * (1 / 4 + 1 / 2))
    assert weights.network_weight(hour, [busy, idle]) == pytest.approx(0.75)
    assert weights.network_weight(0, []) == 1.0
    assert weights.network_weight(hour, []) is None
    assert weights.network_weight(hour, [Link()]) is None
    assert weights.network_weight(hour, [Link(0.0)]) == pytest.approx(0.5)
