"""Pause, resume and priority of transfers that a real Rucio makes."""

import asyncio

import pytest
from live_setup import PACE_S, LiveWorld, eventually
from moving_setup import books, counts, scenario
from rucio_site import SCOPE

from cmd_daemon.hooks import Command, Control, ControlAnswer, JobOrder, JobRef, Phase
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_rucio_butler.commands import MARK, RESUMED
from cmd_rucio_butler.driver import RucioDriver

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
]

DEADLINE_S = 90.0


async def said(
    driver: RucioDriver, ref: JobRef, command: Command, value: int | None = None
) -> ControlAnswer:
    """The answer to a command said once."""
    (answer,) = await driver.control([Control(ref.key, ref.ref, command, value)])
    return answer


async def obeyed(
    driver: RucioDriver, ref: JobRef, command: Command, value: int | None = None
) -> None:
    """Say a command until it is done."""
    answer = await said(driver, ref, command, value)
    async with asyncio.timeout(DEADLINE_S):
        while not answer.done:
            await asyncio.sleep(0.2)
            answer = await said(driver, ref, command, value)


async def noted(driver: RucioDriver, ref: JobRef, word: str) -> None:
    """Wait until a running attempt's progress says so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            (seen,) = await driver.observe([ref])
            assert seen.phase is Phase.RUNNING
            if seen.progress is not None and word in seen.progress.note:
                return
            await asyncio.sleep(0.1)


async def begun(world: LiveWorld, driver: RucioDriver) -> tuple[JobOrder, JobRef]:
    """A transfer of four files whose rule is there and of which the transfer service holds all."""
    world.site.transfers.fault(f"{world.scenario}/make/g1/a1/zp", hold=True)
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    (ref,) = await submitted(driver, [order])
    await eventually(lambda: waiting(world) == 4)
    return order, ref


def waiting(world: LiveWorld) -> int:
    """Requests that Rucio has for the scenario's files."""
    found = world.site.postgres.sql(
        f"SELECT count(*) FROM dev.requests WHERE name LIKE '%{world.scenario}/make/%'"
    )
    return int(found)


def state(world: LiveWorld) -> list[str]:
    """The states of the rules of the scenario's dataset."""
    return [rule["state"] for rule in world.rules(world.dataset())]


def here(world: LiveWorld, rse: str = "USDF_DISK") -> int:
    """The scenario's files on the disk of an RSE."""
    found = world.site.roots[rse].glob(f"rubin/out/{world.scenario}/make/g1/a1/zp/**/*.yaml")
    return len(list(found))


@scenario("pause")
async def test_a_paused_transfer_starts_nothing_and_goes_on_when_resumed(world: LiveWorld) -> None:
    driver = await world.driver()
    order, ref = await begun(world, driver)
    before = here(world)
    await obeyed(driver, ref, Command.PAUSE)
    assert (state(world), waiting(world)) == (["SUSPENDED"], 0)
    assert (await said(driver, ref, Command.PAUSE)).done
    # Nothing of it is taken up again, however often Rucio's daemons come by.
    world.site.transfers.clear()
    await asyncio.to_thread(world.site.daemons.round, rounds=4)
    await noted(driver, ref, "suspended")
    assert (state(world), waiting(world), here(world)) == (["SUSPENDED"], 0, before)
    await obeyed(driver, ref, Command.RESUME)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    assert counts(books(outcome)["FrDF", "USDF", "zp"]) == (4, 4, 4, 0)
    (rule,) = world.rules(world.dataset())
    assert (rule["state"], rule["comments"]) == ("OK", f"cmd pause/make/g1 keep{RESUMED}")
    assert (await said(driver, ref, Command.PAUSE)).done, "what is over needs no pause"


@scenario("lost")
async def test_what_rucio_takes_for_lost_by_a_pause_is_regained(world: LiveWorld) -> None:
    driver = await world.driver()
    order, ref = await begun(world, driver)
    await obeyed(driver, ref, Command.PAUSE)
    world.site.transfers.clear()
    await obeyed(driver, ref, Command.RESUME)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    lost = world.names(world.dataset())[:2]

    def there() -> list[str]:
        dids = [{"scope": SCOPE, "name": name} for name in lost]
        found = world.client.list_replicas(dids, rse_expression="USDF_DISK")
        return [each["name"] for each in found if "USDF_DISK" in each["rses"]]

    # What a suspension leaves that meets the end of a transfer: the lock is OK, the replica is not.
    names = ", ".join(f"'{name}'" for name in lost)
    world.site.postgres.sql(
        f"UPDATE dev.replicas SET state = 'U' WHERE name IN ({names}) AND rse_id ="
        " (SELECT id FROM dev.rses WHERE rse = 'USDF_DISK')"
    )
    assert there() == []
    taken = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert taken.ok, taken.message
    assert sorted(there()) == lost
    assert state(world) == ["OK"]


@scenario("unmade")
async def test_a_pause_comes_before_the_rule_that_is_made_later(world: LiveWorld) -> None:
    # Rucio's injector may come between the making and the suspension: not here.
    await asyncio.to_thread(world.site.daemons.pause)
    driver = await world.driver()
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    (ref,) = await submitted(driver, [order])
    early = await said(driver, ref, Command.PAUSE)
    assert not early.done
    assert early.message == "its rule in Rucio is still to be made"
    await obeyed(driver, ref, Command.PAUSE)
    (seen,) = await driver.observe([ref])
    assert seen.outcome is None
    assert state(world) == ["SUSPENDED"]
    await asyncio.to_thread(world.site.daemons.round, rounds=4)
    # It never had a transfer, not even for a moment.
    made = "SELECT count(*) FROM dev.requests_history WHERE name LIKE '%unmade/make/%'"
    assert (waiting(world), world.site.postgres.sql(made)) == (0, "0")
    world.site.daemons.pace(PACE_S)
    await obeyed(driver, ref, Command.RESUME)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    assert counts(books(outcome)["FrDF", "USDF", "zp"]) == (4, 4, 4, 0)


@scenario("restart")
async def test_a_pause_outlives_the_daemon(world: LiveWorld) -> None:
    first = await world.driver()
    order, ref = await begun(world, first)
    await obeyed(first, ref, Command.PAUSE)
    await first.stop()
    # Somebody at Rucio's side lets the rule go on; it is suspended again.
    (rule,) = world.rules(world.dataset())
    world.client.update_replication_rule(rule["id"], {"state": "STUCK", "boost_rule": True})
    second = await world.driver()
    (seen,) = await second.observe([ref])
    assert seen.phase is Phase.RUNNING
    await eventually(lambda: (state(world), waiting(world)) == (["SUSPENDED"], 0))
    world.site.transfers.clear()
    await obeyed(second, ref, Command.RESUME)
    outcome = (await outcomes(second, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message


@scenario("redrive")
async def test_an_attempt_after_a_paused_one_goes_on_with_its_rule(world: LiveWorld) -> None:
    driver = await world.driver()
    _, ref = await begun(world, driver)
    await obeyed(driver, ref, Command.PAUSE)
    (before,) = world.rules(world.dataset())
    assert before["comments"].endswith(MARK)
    # The attempt is over somehow, and nobody has let its rule go.
    await driver.stop()
    (world.host.state_dir / "rucio" / "orders" / "FrDF" / f"{ref.ref}.json").unlink()
    world.site.transfers.clear()
    second = await world.driver()
    again = await world.do(second, world.order("keep-transfer", datasets=["zp"], at="USDF"))
    assert again.ok, again.message
    (after,) = world.rules(world.dataset())
    assert (after["id"], after["state"]) == (before["id"], "OK")


@scenario("pausecancel")
async def test_a_paused_transfer_can_be_cancelled(world: LiveWorld) -> None:
    driver = await world.driver()
    order, ref = await begun(world, driver)
    await obeyed(driver, ref, Command.PAUSE)
    (answer,) = await driver.cancel([ref])
    assert (answer.done, answer.message) == (True, "")
    # Let go of, not ended an hour later as a deletion of the rule would be.
    world.site.daemons.round("cleaner")
    assert state(world) == []
    assert not (await outcomes(driver, [ref], DEADLINE_S))[order.key].ok
    assert (await said(driver, ref, Command.RESUME)).done
    assert (waiting(world), state(world)) == (0, [])


@scenario("priority")
async def test_a_priority_is_given_to_the_rule_and_what_is_queued(world: LiveWorld) -> None:
    world.site.daemons.off(["submitter", "reaper"])
    driver = await world.driver()
    order, ref = await begun(world, driver)
    await obeyed(driver, ref, Command.PRIORITY, 5)
    (rule,) = world.rules(world.dataset())
    assert rule["priority"] == 5
    queued = "SELECT DISTINCT priority FROM dev.requests WHERE name LIKE '%priority/make/%'"
    assert world.site.postgres.sql(queued) == "5"
    refused = await said(driver, ref, Command.PRIORITY, 9)
    assert refused.message == "rules of Rucio have priorities from 1 to 5, not 9"
    assert world.rules(world.dataset())[0]["priority"] == 5
    world.site.daemons.off()
    world.site.transfers.clear()
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
