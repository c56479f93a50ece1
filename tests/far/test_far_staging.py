"""Staging: inputs that are not local are brought to the group's facility, here one over ssh."""

from typing import Any

import pytest
from moving_setup import THREE, World, books, counts, scenario

from cmd_daemon.hooks import Refused
from cmd_local.moving.routing import RoutingCarrier

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    scenario("stage"),
]

STAGE: dict[str, Any] = {
    "here": "UKDF",
    "datasets": ["raw"],
    "inputs": ("DemoCam/defaults",),
    "where": "instrument='DemoCam' AND skymap='demo_sky' AND tract=2",
}


async def raws(world: World, facility: str, **changes: Any) -> list[dict[str, Any]]:
    """The raws that a facility's Butler finds."""
    args = {"repo": "main", "collections": ["DemoCam/defaults"], "types": ["raw"], **changes}
    return list((await world.agents[facility].inner.call("list_datasets", args))["datasets"])


async def visits(world: World, facility: str) -> set[int]:
    """The visits that a facility's Butler knows of."""
    args = {"repo": "main", "dimensions": ["visit"], "where": "instrument='DemoCam'"}
    told = await world.agents[facility].inner.call("query_data_ids", args)
    return {row[1] for row in told["rows"]}


async def test_raws_of_a_tract_come_with_their_visits_and_only_those(world: World) -> None:
    there = {each["uuid"] for each in await raws(world, "FrDF", where=STAGE["where"])}
    everything = await raws(world, "FrDF")
    assert 0 < len(there) < len(everything)
    before = await visits(world, "UKDF")
    driver = await world.driver("UKDF", carrier=RoutingCarrier(world.host, 30.0))
    made, moved, taken = await world.move(driver, "stage", THREE, **STAGE)
    assert made.ok, made.message
    assert moved.ok, moved.message
    assert taken.ok, taken.message
    # USDF holds the same raws: they are brought from one place only.
    assert list(books(taken)) == [("USDF", "UKDF", "raw")]
    assert counts(books(taken)["USDF", "UKDF", "raw"]) == (len(there),) * 4
    assert {each["uuid"] for each in await raws(world, "UKDF")} == there
    staged = {each["data_id"]["exposure"] for each in await raws(world, "UKDF")}
    assert await visits(world, "UKDF") == before | staged

    again = await world.move(driver, "stage", THREE, **STAGE)
    assert [outcome.ok for outcome in again] == [True] * 3
    assert again[2].extra["books"] == []
    wider = {**STAGE, "where": "instrument='DemoCam'"}
    *_, taken = await world.move(driver, "stage", THREE, **wider)
    assert taken.ok, taken.message
    missing = len(everything) - len(there)
    assert counts(books(taken)["USDF", "UKDF", "raw"]) == (missing,) * 4
    assert {e["uuid"] for e in await raws(world, "UKDF")} == {e["uuid"] for e in everything}


async def test_a_stage_needs_to_know_the_facilities(world: World) -> None:
    driver = await world.driver("UKDF", carrier=RoutingCarrier(world.host, 30.0))
    (answer,) = await driver.submit([world.order("stage-register", **{**STAGE, "facilities": []})])
    assert isinstance(answer, Refused)
    assert "needs 'facilities'" in answer.message
