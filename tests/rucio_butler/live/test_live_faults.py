"""What goes wrong between real Butlers and a real Rucio: nothing is lost, nothing is done twice, and
the reason is told."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from live_setup import LiveWorld, eventually
from moving_setup import THREE, books, counts, scenario
from rucio_site import SCOPE

from cmd_daemon.hooks import DriverError, ErrorClass, Found, JobOrder, JobRef, Phase
from cmd_daemon.testing.driver_contract import outcomes, submitted, wait_until
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.server import RucioServer

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

DEADLINE_S = 90.0


async def zp_files(world: LiveWorld) -> list[str]:
    """The names in Rucio of the scenario's zp."""
    root = world.facilities["FrDF"].butlers["main"]
    told = await world.files("FrDF", f"out/{world.scenario}", "zp")
    return sorted(each["file"].removeprefix(f"{root}/") for each in told)


async def held(world: LiveWorld, driver: RucioDriver) -> tuple[JobOrder, JobRef]:
    """A transfer to USDF that the transfer service holds back, and its reference."""
    first = (await zp_files(world))[0]
    world.site.transfers.fault(first, hold=True)
    await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    (ref,) = await submitted(driver, [order])
    await eventually(lambda: world.rules(world.dataset()) != [])
    return order, ref


@scenario("down")
async def test_a_server_that_is_down_for_a_while_is_waited_for(world: LiveWorld) -> None:
    driver = await world.driver()
    order, ref = await held(world, driver)
    world.site.server.process.kill()
    world.site.transfers.clear()
    asked = dict(driver._shared().server.asked)
    await eventually(lambda: driver._shared().server.asked != asked)  # it has seen the outage
    (seen,) = await driver.observe([ref])
    await asyncio.to_thread(_again, world.site.server.process)
    assert seen.phase is Phase.RUNNING
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    taken = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert len(world.rules(world.dataset())) == 1
    # Also in the middle of declaring.
    world.site.server.process.kill()
    order = world.order("scatter-register", datasets=["warp"])
    (ref,) = await submitted(driver, [order])
    asked = dict(driver._shared().server.asked)
    await eventually(lambda: driver._shared().server.asked != asked)
    await asyncio.to_thread(_again, world.site.server.process)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert counts(books(outcome)["FrDF", "USDF", "warp"]) == (2, 2, 0, 0), outcome.message


@scenario("killed")
async def test_a_rule_made_just_before_a_kill_is_adopted(world: LiveWorld) -> None:
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    job = {
        "state": str(world.host.state_dir),
        "facilities": {
            name: {"settings": dict(info.settings), "stacks": dict(info.stacks),
                   "butlers": dict(info.butlers)}
            for name, info in world.facilities.items()
        },
        "key": order.key,
        "params": dict(order.params),
        "scenario": world.scenario,
    }  # fmt: skip
    victim = Path(__file__).with_name("victim.py")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(victim), json.dumps(job)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -9, done.stderr.decode()
    (before,) = world.rules(world.dataset())
    driver = await world.driver()
    (found,) = await driver.find([order.key])
    assert isinstance(found, Found)
    (ref,) = await submitted(driver, [order])
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    (after,) = world.rules(world.dataset())
    assert after["id"] == before["id"]


@scenario("unclosed")
async def test_what_one_attempt_could_not_close_the_next_one_does(
    world: LiveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await world.driver()
    await world.move(driver, "keep", THREE[:2], datasets=["zp"], at="USDF")

    async def down(server: RucioServer, name: str) -> None:
        raise DriverError(ErrorClass.TRANSIENT, "it was killed before it could")

    with monkeypatch.context() as patched:
        patched.setattr(RucioServer, "close_dataset", down)
        first = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert not first.ok
    assert len(await world.uuids("USDF", "out/unclosed", "zp")) == 4
    assert world.client.get_did(SCOPE, world.dataset())["open"] is True
    again = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert again.ok, again.message
    assert world.client.get_did(SCOPE, world.dataset())["open"] is False


@scenario("thrice")
async def test_a_file_that_fails_three_times_arrives(world: LiveWorld) -> None:
    first = (await zp_files(world))[0]
    world.site.transfers.fault(first, fail="TRANSFER [110] timed out", times=3)
    world.set("FrDF", async_above=0)  # the rule is made by Rucio in the background
    driver = await world.driver()
    *_, taken = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert taken.ok, taken.message
    assert world.site.transfers.faults()[first]["hit"] == 3


@scenario("forever")
async def test_a_file_that_never_moves_is_told_and_redriven(world: LiveWorld) -> None:
    first = (await zp_files(world))[0]
    world.site.transfers.fault(first, fail="DESTINATION [13] permission denied by the guard")
    driver = await world.driver()
    _, moved, taken = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert moved.ok, "the others are to be taken in"
    assert not taken.ok
    assert taken.error_class is ErrorClass.PERMANENT
    assert "permission denied by the guard" in taken.message
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 4, 3, 3)
    (gap,) = entry["gaps"]
    assert "permission denied by the guard" in gap["reason"]
    # The operator has seen to it; only the gap is done.
    world.site.transfers.clear()
    again = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert again.ok, again.message
    assert counts(books(again)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)


@scenario("source")
async def test_a_source_file_with_other_bytes_is_found_out(world: LiveWorld) -> None:
    driver = await world.driver()
    await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))
    first = (await zp_files(world))[0]
    path = world.site.path("FRDF_DISK", SCOPE, first)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"z", b"y"))
    try:
        await world.do(driver, world.order("keep-transfer", datasets=["zp"], at="USDF"))
        taken = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
        assert not taken.ok
        assert "SOURCE CHECKSUM MISMATCH" in taken.message
        assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 3, 3)
    finally:
        path.write_bytes(good)
    again = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert again.ok, again.message


@scenario("deleted")
async def test_a_rule_deleted_behind_our_back_is_made_again(world: LiveWorld) -> None:
    driver = await world.driver()
    order, ref = await held(world, driver)
    (before,) = world.rules(world.dataset())
    world.client.update_replication_rule(before["id"], {"lifetime": 0})
    await eventually(
        lambda: before["id"] not in [rule["id"] for rule in world.rules(world.dataset())]
    )
    world.site.transfers.clear()
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    (after,) = world.rules(world.dataset())
    assert after["id"] != before["id"]
    taken = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert taken.ok, taken.message


@scenario("other")
async def test_a_name_that_has_other_bytes_in_rucio_is_told(world: LiveWorld) -> None:
    first, *rest = await zp_files(world)
    stranger = {"scope": SCOPE, "name": first, "bytes": 7, "adler32": "00000007"}
    world.client.add_replicas("UKDF_DISK", [stranger])
    driver = await world.driver()
    made, _, taken = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert made.ok, "the others go on"
    assert f"Rucio has other bytes under the name {first}: 7 bytes" in made.message
    assert taken.error_class is ErrorClass.PERMANENT
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 3, 3, 3)
    assert world.names(world.dataset()) == rest


@scenario("stranger")
async def test_what_the_receiver_has_no_dimensions_for_is_a_gap(world: LiveWorld) -> None:
    driver = await world.driver()
    *_, taken = await world.move(driver, "scatter", THREE, datasets=["zp"])
    assert taken.error_class is ErrorClass.PERMANENT
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    entry = books(taken)["FrDF", "UKDF", "zp"]
    assert counts(entry) == (4, 4, 4, 2)
    reasons = [gap["reason"] for gap in entry["gaps"]]
    assert reasons[0].startswith(
        "UKDF: the receiving Butler does not hold instrument DemoCam, visit 1005"
    )


@scenario("cancel")
async def test_a_cancelled_transfer_lets_its_rule_go(world: LiveWorld) -> None:
    driver = await world.driver()
    _, ref = await held(world, driver)
    await wait_until(driver, [ref], {Phase.RUNNING}, DEADLINE_S)
    (answer,) = await driver.cancel([ref])
    assert answer.done
    await eventually(lambda: world.rules(world.dataset()) == [])
    assert not (await outcomes(driver, [ref], DEADLINE_S))[ref.key].ok


@scenario("polls")
async def test_one_look_serves_all_rules(world: LiveWorld) -> None:
    for facility in world.facilities:
        world.set(facility, poll_s=3.0)
    driver = await world.driver()
    orders = [
        world.order("keep-transfer", datasets=["zp"], at="USDF"),
        world.order("scatter-transfer", datasets=["zp"], by="visit"),
    ]
    begun = asyncio.get_running_loop().time()
    refs = await submitted(driver, orders)
    shared = driver._shared()
    done = await outcomes(driver, refs, DEADLINE_S)
    assert [each.message for each in done.values() if not each.ok] == []
    took = asyncio.get_running_loop().time() - begun
    assert 1 <= shared.watch.looks <= took / 3.0 + 1
    assert len(world.rules(world.dataset())) == 1
    assert len(world.rules(world.dataset(kind="scatter-UKDF"))) == 1


@scenario("hints")
async def test_messages_make_the_next_look_come_sooner(world: LiveWorld) -> None:
    stomp = world.site.addresses["stomp"]
    secret = world.host.state_dir / "stomp"
    secret.write_text(stomp.pop("password"))
    stomp["password_file"] = str(secret)
    for facility in world.facilities:
        world.set(facility, poll_s=100.0, stomp=stomp)
    driver = await world.driver()
    (hints,) = driver._shared().hints.values()
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    (ref,) = await submitted(driver, [order])
    outcome = (await outcomes(driver, [ref], 60.0))[order.key]
    assert outcome.ok, outcome.message
    assert hints.heard > 0


@scenario("token")
async def test_an_expired_token_is_told_and_a_new_one_taken(world: LiveWorld) -> None:
    token = world.host.state_dir / "token"
    token.write_text("root-cmd-unknown-0123")
    for facility in world.facilities:
        world.set(facility, auth="oidc", token_file=str(token))
    driver = await world.driver()
    refused = await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))
    assert not refused.ok
    assert refused.error_class is ErrorClass.PERMANENT
    assert f"the token in {token} is not valid (any more)" in refused.message
    token.write_text(world.client.auth_token)
    made = await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))
    assert made.ok, made.message
    assert counts(books(made)["FrDF", "USDF", "zp"]) == (4, 4, 0, 0)


def _again(process: object) -> None:
    process.spawn()  # type: ignore[attr-defined]
    process.wait()  # type: ignore[attr-defined]
