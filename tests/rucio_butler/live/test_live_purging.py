"""After a purge Rucio no longer names the facility as one that has the files."""

from collections.abc import Mapping
from typing import Any

import pytest
from live_setup import LiveWorld, eventually
from moving_setup import THREE, scenario
from rucio_site import SCOPE

from cmd_daemon.hooks import ErrorClass, JobOrder, Outcome
from cmd_rucio_butler.driver import RucioDriver

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

HERE, THERE = "FRDF_DISK", "USDF_DISK"


def purge(world: LiveWorld) -> JobOrder:
    return world.order("purge", datasets=["zp"], closed=["keep"])


async def kept(world: LiveWorld, driver: RucioDriver) -> None:
    """Have the scenario's zp kept at USDF."""
    *_, taken = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert taken.ok, taken.message


async def purged(world: LiveWorld, driver: RucioDriver) -> Outcome:
    return await world.do(driver, purge(world))


def available(world: LiveWorld) -> dict[str, list[str]]:
    """The RSEs of which Rucio says that they have the files of the keep's dataset, by file."""
    dids = [{"scope": SCOPE, "name": world.dataset()}]
    told = world.client.list_replicas(dids, sort="random")
    return {each["name"]: sorted(each["rses"]) for each in told}


@scenario("gone")
async def test_what_was_purged_is_available_elsewhere_only(world: LiveWorld) -> None:
    driver = await world.driver()
    await kept(world, driver)
    before = available(world)
    assert list(before.values()) == [[HERE, THERE]] * 4
    agent = world.agents["FrDF"]
    seen: list[dict[str, list[str]]] = []
    call = agent.call

    async def watched(op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        if op == "prune_datasets":
            seen.append(available(world))
        return await call(op, args, timeout_s)

    agent.call = watched  # type: ignore[method-assign]
    done = await purged(world, driver)
    assert done.ok, done.message
    assert list(seen[0].values()) == [[THERE]] * 4, "Rucio is told before anything is removed"
    assert available(world) == {name: [THERE] for name in before}
    assert await world.uuids("FrDF", "out/gone/make/g1", "zp") == set()
    (rule,) = world.rules(world.dataset())
    assert (rule["rse_expression"], rule["state"]) == (THERE, "OK")
    again = await purged(world, driver)
    assert again.ok, again.message
    # Whoever wants them here again gets them, from there.
    dids = [{"scope": SCOPE, "name": world.dataset()}]
    (back,) = world.client.add_replication_rule(dids, 1, HERE)
    await eventually(lambda: world.client.get_replication_rule(back)["state"] == "OK")
    assert available(world) == before


@scenario("held")
async def test_what_a_rule_holds_here_is_not_purged(world: LiveWorld) -> None:
    driver = await world.driver()
    await kept(world, driver)
    dids = [{"scope": SCOPE, "name": world.dataset()}]
    (holding,) = world.client.add_replication_rule(dids, 1, HERE)
    refused = await purged(world, driver)
    assert refused.error_class is ErrorClass.PERMANENT
    assert f"at {HERE} by a rule ({holding} of root): let the rule go" in refused.message
    assert len(await world.uuids("FrDF", "out/held/make/g1", "zp")) == 4
    assert list(available(world).values()) == [[HERE, THERE]] * 4
    assert world.client.get_replication_rule(holding)["state"] == "OK"
    # The operator lets it go; that it takes Rucio a moment is no failure.
    world.client.update_replication_rule(holding, {"lifetime": 0})
    done = await purged(world, driver)
    assert done.ok, done.message
    assert list(available(world).values()) == [[THERE]] * 4


@scenario("pinned")
async def test_a_pin_that_was_just_let_go_is_waited_for(world: LiveWorld) -> None:
    world.set("FrDF", pin_s=3600)
    driver = await world.driver()
    world.site.daemons.off(["cleaner", "reaper"])
    await kept(world, driver)
    pins = [rule["rse_expression"] for rule in world.rules(world.dataset())]
    assert sorted(pins) == [HERE, THERE]
    world.site.daemons.off()
    done = await purged(world, driver)
    assert done.ok, done.message
    assert list(available(world).values()) == [[THERE]] * 4
