"""The rule of the soak: it must call flat what is flat, and see a leak through noise."""

import random

import pytest
from soak_flatness import RULES, slope, sparkline, verdict

DICE = random.Random(1)
MEMORY = RULES[0]


def course(minutes: float, growth: float, noise: float = 2.0) -> list[tuple[float, float]]:
    """Memory in MB, sampled each second: a warm-up to 150, then `growth` a minute, with noise."""
    return [
        (second, 150 - 50 * 0.9**second + growth * second / 60 + DICE.gauss(0, noise))
        for second in range(round(minutes * 60))
    ]


def test_warm_up_and_noise_are_no_growth() -> None:
    assert verdict(MEMORY, course(20, 0.0)).flat
    assert verdict(MEMORY, course(2, 0.0)).flat


@pytest.mark.parametrize("minutes", [20, 60])
def test_a_leak_of_a_megabyte_a_minute_is_seen(minutes: int) -> None:
    found = verdict(MEMORY, course(minutes, 1.0))
    assert not found.flat
    assert found.growth == pytest.approx(minutes * 2 / 3, rel=0.2)


def test_a_few_outliers_move_nothing() -> None:
    points = course(20, 0.0)
    for number in range(900, 1200, 10):
        points[number] = (points[number][0], 900.0)
    assert verdict(MEMORY, points).flat


def test_one_descriptor_lost_a_minute_is_seen() -> None:
    points = [(float(second), 40.0 + second // 60) for second in range(1200)]
    assert not verdict(RULES[1], points).flat


def test_a_database_that_grows_is_seen() -> None:
    points = [(float(second), min(second, 120) * 0.1) for second in range(1200)]
    assert verdict(RULES[4], points).flat
    assert not verdict(RULES[4], [(at, size + at * 0.01) for at, size in points]).flat


def test_nothing_moves_and_nothing_is_drawn_wrongly() -> None:
    assert slope([(0.0, 1.0)]) == 0.0
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([0.0, 1.0]) == "▁█"
    assert len(sparkline([float(n) for n in range(1000)])) <= 48
