"""Many random walks of the kernel through a bad world. A failure names its seed.

`CMD_TESTS=thorough` walks farther and more often (minutes instead of seconds).
"""

import os
from random import Random

import pytest
from model_daemon import ToyDaemon

THOROUGH = os.environ.get("CMD_TESTS", "") == "thorough"
pytestmark = pytest.mark.timeout(1800 if THOROUGH else 120)
SEEDS = 3000 if THOROUGH else 200
STEPS = 600 if THOROUGH else 300


def walk(seed: int, steps: int) -> ToyDaemon:
    """One walk: bad times first, then peace until everything has ended."""
    rng = Random(seed)
    daemon = ToyDaemon(rng, findable=rng.random() < 0.8)
    daemon.outside.evil = rng.choice([0.05, 0.3, 0.6])
    daemon.act_apply()
    daemon.walk(steps)
    daemon.drain()
    return daemon


@pytest.mark.parametrize("block", range(10))
def test_nothing_is_lost_done_twice_or_stuck(block: int) -> None:
    for seed in range(block, SEEDS, 10):
        try:
            walk(seed, STEPS)
        except Exception as error:
            raise AssertionError(f"walk of seed {seed} with {STEPS} steps: {error}") from error
