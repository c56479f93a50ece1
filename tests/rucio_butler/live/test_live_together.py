"""Movements of the same files at the same time, over a real Rucio."""

from dataclasses import replace

import pytest
from live_setup import LiveWorld
from moving_setup import books, counts, scenario

from cmd_daemon.hooks import JobOrder
from cmd_daemon.testing.driver_contract import outcomes, submitted

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

DEADLINE_S = 150.0
GROUPS = ("one", "two", "three", "four", "five")


def orders(world: LiveWorld, stage: str) -> list[JobOrder]:
    """A stage of several groups that move the outputs of group g1, each as its own."""
    chain = f"out/{world.scenario}/make/g1"
    made = [
        world.order(f"keep-{stage}", group=group, datasets=["zp", "warp"], at="USDF")
        for group in GROUPS
    ]
    return [replace(order, output_chain=chain) for order in made]


@scenario("together")
async def test_movements_of_the_same_files_do_not_hinder_each_other(world: LiveWorld) -> None:
    # Rucio refuses one of two that make the same replicas at once; each has to come through at
    # its first attempt.
    driver = await world.driver()
    for stage, expected in (("register", (4, 4, 0, 0)), ("transfer", (4, 4, 4, 0))):
        refs = await submitted(driver, orders(world, stage))
        ended = await outcomes(driver, refs, DEADLINE_S)
        assert [each.message for each in ended.values() if not each.ok] == []
        for outcome in ended.values():
            assert counts(books(outcome)["FrDF", "USDF", "zp"]) == expected
    for group in GROUPS:
        dataset = world.dataset(group=group)
        assert len(world.names(dataset)) == 6
        assert [rule["state"] for rule in world.rules(dataset)] == ["OK"]
