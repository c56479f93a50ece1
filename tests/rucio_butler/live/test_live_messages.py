"""Messages that are doubled, lost, late or false: a transfer ends when its files are there, no sooner."""

import asyncio
import json
from typing import Any

import pytest
import stomp
from live_setup import LiveWorld, eventually
from moving_setup import books, counts, scenario
from rucio_site import SCOPE

from cmd_daemon.hooks import JobOrder, JobRef, Phase
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.watching import SOONEST_S

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

DEADLINE_S = 90.0


def listen(world: LiveWorld, poll_s: float) -> dict[str, Any]:
    """Have all facilities listen to the site's broker; where it is."""
    where = dict(world.site.addresses["stomp"])
    secret = world.host.state_dir / "stomp"
    secret.write_text(where.pop("password"))
    for facility in world.facilities:
        world.set(facility, poll_s=poll_s, stomp={**where, "password_file": str(secret)})
    return where


async def held(world: LiveWorld, driver: RucioDriver) -> tuple[JobOrder, JobRef]:
    """A transfer of four files that the transfer service holds."""
    world.site.transfers.fault(f"out/{world.scenario}/make", hold=True)
    await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    (ref,) = await submitted(driver, [order])
    await eventually(lambda: [r["state"] for r in world.rules(world.dataset())] == ["REPLICATING"])
    return order, ref


def say(world: LiveWorld, messages: list[dict[str, Any]]) -> None:
    """Send messages to the topic of Rucio's own Hermes."""
    where = world.site.addresses["stomp"]
    line = stomp.Connection12([(where["host"], where["port"])])
    line.connect(where["username"], where["password"], wait=True)
    for message in messages:
        line.send(where["destination"], json.dumps(message))
    line.disconnect()


@scenario("rumours")
async def test_doubled_and_false_messages_in_any_order_end_nothing(world: LiveWorld) -> None:
    listen(world, 3.0)
    driver = await world.driver()
    shared = driver._shared()
    (hints,) = shared.hints.values()
    order, ref = await held(world, driver)
    (rule,) = world.rules(world.dataset())
    told = {"scope": SCOPE, "name": world.dataset(), "rse": "USDF_DISK", "rule_id": rule["id"]}
    # The end before the beginning, each many times over, and some of other rules.
    events = ["rule_ok", "datasetlock_ok", "transfer-done", "transfer-failed", "transfer-queued"]
    messages = [
        {"event_type": event, "payload": told if n % 2 else {}, "created_at": "2026-11-29"}
        for event in events
        for n in range(40)
    ]
    begun = asyncio.get_running_loop().time()
    looks, known = shared.watch.looks, hints.heard
    await asyncio.to_thread(say, world, messages)
    await eventually(lambda: hints.heard >= known + 160)
    await eventually(lambda: shared.watch.looks >= looks + 2)
    took = asyncio.get_running_loop().time() - begun
    assert shared.watch.looks - looks <= took / SOONEST_S + 2, (
        "a storm of messages is none of looks"
    )
    (seen,) = await driver.observe([ref])
    assert seen.phase is Phase.RUNNING
    assert [r["state"] for r in world.rules(world.dataset())] == ["REPLICATING"]
    world.site.transfers.clear()
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    assert counts(books(outcome)["FrDF", "USDF", "zp"]) == (4, 4, 4, 0)
    assert [r["id"] for r in world.rules(world.dataset())] == [rule["id"]]


@scenario("silence")
async def test_lost_messages_are_not_missed(world: LiveWorld) -> None:
    listen(world, 3.0)
    driver = await world.driver()
    (hints,) = driver._shared().hints.values()
    order, ref = await held(world, driver)
    # The broker takes with it what it had; nobody says that the transfers are done.
    world.site.broker.process.kill()
    try:
        known = hints.heard
        world.site.transfers.clear()
        outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
        assert outcome.ok, outcome.message
        assert hints.heard == known
        taken = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
        assert taken.ok, taken.message
        assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    finally:
        await asyncio.to_thread(world.site.broker.process.start)
