"""Faults on the way: nothing is lost, nothing is done twice, and the books say what is missing."""

import asyncio
import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_carriers import CorruptingCarrier, CountingCarrier, FullCarrier, StallingCarrier
from moving_setup import THREE, World, books, counts, scenario

from cmd_daemon.hooks import ErrorClass, JobRef, Phase
from cmd_daemon.testing.driver_contract import outcomes, submitted, wait_until
from cmd_local.moving.manifest import manifest_id

pytestmark = pytest.mark.asyncio(loop_scope="session")


KEEP = {"datasets": ["zp"], "at": "USDF"}


@scenario("corrupt")
async def test_a_file_corrupted_on_the_way_is_sent_again_but_not_for_ever(world: World) -> None:
    stubborn = CorruptingCarrier(times=10**6)
    driver = await world.driver(carrier=stubborn, chunk=10**6)
    _, moved = await world.move(driver, "keep", THREE[:2], **KEEP)
    assert not moved.ok
    assert moved.error_class is ErrorClass.TRANSIENT
    entry = books(moved)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 4, 0, 0)
    assert "arrived corrupted at USDF 3 times (SHA-256 " in entry["gaps"][0]["reason"]
    assert world.landing("USDF") == []
    passing = CorruptingCarrier(times=2)
    driver = await world.driver(carrier=passing, chunk=10**6)
    taken = (await world.move(driver, "keep", ("transfer", "ingest"), **KEEP))[1]
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    size = books(taken)["FrDF", "USDF", "zp"]["bytes"]
    assert size < passing.written < size * 2  # the two bad ones twice
    sums = [
        [f["sha256"] for f in await world.files(at, "out/corrupt", "zp")] for at in ("FrDF", "USDF")
    ]
    assert sums[0] == sums[1]


@scenario("lost")
async def test_a_file_lost_at_the_source_is_a_gap_and_the_others_arrive(world: World) -> None:
    driver = await world.driver()
    files = await world.files("FrDF", "out/lost", "zp")
    before, after = Path(files[0]["file"]), Path(files[1]["file"])
    saved = before.read_bytes()
    before.unlink()  # lost before it is registered
    (registered,) = await world.move(driver, "keep", ("register",), **KEEP)
    assert registered.ok
    rescued = after.read_bytes()
    after.unlink()  # lost after it was registered
    moved, taken = await world.move(driver, "keep", ("transfer", "ingest"), **KEEP)
    assert moved.ok, "what can be sent was sent; the ingest judges"
    assert not taken.ok
    assert taken.error_class is ErrorClass.PERMANENT
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 2, 2, 2)
    reasons = {gap["uuid"]: gap["reason"] for gap in entry["gaps"]}
    assert reasons == {
        files[0]["uuid"]: f"its file is lost: {before} (at FrDF)",
        files[1]["uuid"]: f"its file is lost at FrDF: {after}",
    }
    assert {f.message for f in taken.failures} == set(reasons.values())
    before.write_bytes(saved)
    after.write_bytes(rescued)
    carrier = CountingCarrier()
    driver = await world.driver(carrier=carrier)
    (again,) = await world.move(driver, "keep", ("ingest",), **KEEP)
    assert again.ok, again.message
    assert carrier.written == len(saved) + len(rescued), "the gap and nothing else"


@scenario("conflict")
async def test_another_dataset_in_its_place_is_a_gap_that_names_it(world: World) -> None:
    driver = await world.driver()
    await world.move(driver, "keep", ("register", "transfer"), **KEEP)
    (first, *_) = files = await world.files("FrDF", "out/conflict", "zp")
    agent = world.agents["USDF"].inner
    landing = await agent.call("landing", {"repo": "main", "name": "stranger"})
    stranger = Path(landing["directory"]) / "other.yaml"
    stranger.write_bytes(Path(first["file"]).read_bytes())
    other = {**{k: first[k] for k in ("type", "data_id", "run")}, "uuid": str(uuid.uuid4())}
    definition = {"name": "zp", "dimensions": ["visit"], "storage_class": "StructuredDataDict"}
    told = await agent.call(
        "ingest_datasets",
        {
            "repo": "main",
            "types": [{**definition, "is_calibration": False}],
            "datasets": [{**other, "file": str(stranger)}],
        },
    )
    assert told["ingested"] == [other["uuid"]]
    stranger.unlink()
    (taken,) = await world.move(driver, "keep", ("ingest",), **KEEP)
    assert not taken.ok
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (len(files), 4, 4, 3)
    (gap,) = entry["gaps"]
    assert gap["reason"] == (
        "USDF: the receiving Butler has another dataset of this type and data id in "
        f"out/conflict/make/g1/a1: {other['uuid']}"
    )


@scenario("resume")
async def test_a_transfer_goes_on_where_a_killed_daemon_stopped(world: World) -> None:
    stalling = StallingCarrier(pieces=4)
    driver = await world.driver(carrier=stalling, streams=1)
    await world.move(driver, "keep", ("register",), **KEEP)
    order = world.order("keep-transfer", **KEEP)
    refs = await submitted(driver, [order])
    await asyncio.wait_for(stalling.stalled.wait(), 30)
    (seen,) = await driver.observe(refs)
    assert seen.phase is Phase.RUNNING
    assert seen.progress is not None
    assert (seen.progress.total, seen.progress.unit) == (4, "files")
    assert seen.progress.bytes == stalling.written > 9_000
    assert seen.progress.rate > 0
    await driver.stop()
    counting = CountingCarrier()
    driver = await world.driver(carrier=counting, streams=1)
    moved = (await outcomes(driver, refs, 60))[order.key]
    assert moved.ok, moved.message
    size = books(moved)["FrDF", "USDF", "zp"]["bytes"]
    assert stalling.written + counting.written == size, "no byte twice"
    (taken,) = await world.move(driver, "keep", ("ingest",), **KEEP)
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)


@scenario("between")
async def test_a_daemon_killed_between_sent_and_ingested_loses_nothing(world: World) -> None:
    driver = await world.driver()
    await world.move(driver, "keep", ("register", "transfer"), **KEEP)
    assert len(world.landing("USDF")) == 4
    order = world.order("keep-ingest", **KEEP)
    refs = await submitted(driver, [order])
    await driver.stop()  # as a kill: the order is on disk, its work is not done
    carrier = CountingCarrier()
    again = await world.driver(carrier=carrier)
    (found,) = await again.find([order.key])
    assert JobRef(order.key, found.ref) == refs[0]  # type: ignore[union-attr]
    taken = (await outcomes(again, refs, 60))[order.key]
    assert taken.ok, taken.message
    assert carrier.written == 0, "nothing is sent twice"
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert world.landing("USDF") == []


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[bool]:
    """Mount a small disk there if this system lets us; whether it did."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=True)


@scenario("full")
async def test_a_full_disk_at_the_destination_stops_only_that_way(world: World) -> None:
    identity = manifest_id("full", "make", "g1", "scatter")
    root = Path(world.facilities["USDF"].butlers["main"])
    with small_disk(root / ".arriving" / identity, 16_384) as mounted:
        # Where nothing may be mounted the carrier tells what the disk would.
        carrier = None if mounted else FullCarrier(room=16_384)
        driver = await world.driver(carrier=carrier, streams=1)
        await world.move(driver, "scatter", ("register",), datasets=["zp"], by="visit")
        (moved,) = await world.move(driver, "scatter", ("transfer",), datasets=["zp"], by="visit")
        assert not moved.ok
        assert moved.error_class is ErrorClass.TRANSIENT
        entry = books(moved)["FrDF", "USDF", "zp"]
        assert 0 < entry["arrived"] < 4
        assert entry["gaps"][-1]["reason"].startswith("no space left at USDF (")
        if mounted:
            assert counts(books(moved)["FrDF", "UKDF", "zp"]) == (4, 2, 2, 0)
    driver = await world.driver()
    (taken,) = await world.move(driver, "scatter", ("ingest",), datasets=["zp"], by="visit")
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)


@scenario("kill")
async def test_an_agent_killed_in_the_middle_of_each_stage(world: World) -> None:
    driver = await world.driver()
    kills = (
        ("register", "FrDF", "describe_datasets"),
        ("transfer", "USDF", "landing"),
        ("ingest", "USDF", "ingest_datasets"),
    )
    for stage, facility, op in kills:
        world.agents[facility].kill_at = op
        if stage == "ingest":  # when the Butler has given the first file its second name
            world.agents[facility].kill_when = lambda: any(
                path.stat().st_nlink > 1 for path in world.landing("USDF")
            )
        (ended,) = await world.move(driver, "keep", (stage,), **KEEP)
        assert ended.ok, ended.message
        assert world.agents[facility].asked.count(op) >= 2
    assert [world.agents[f].killed for f in ("FrDF", "USDF")] == [1, 2]
    assert counts(books(ended)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert len(await world.uuids("USDF", "out/kill/make/g1", "zp")) == 4


@scenario("gatherkill")
async def test_an_agent_that_does_not_come_back_holds_up_its_own_way_only(world: World) -> None:
    driver = await world.driver("USDF", patience_s=0.0)
    order = {"step": "fit", "group": "all", "here": "USDF", "datasets": ["zp"]}
    order["collections"] = ["out/gatherkill/make"]
    await world.move(driver, "gather", ("register", "transfer"), **order)  # type: ignore[arg-type]
    world.agents["UKDF"].kill_at = "export_dimensions"
    (taken,) = await world.move(driver, "gather", ("ingest",), **order)  # type: ignore[arg-type]
    assert not taken.ok
    assert taken.error_class is ErrorClass.TRANSIENT
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert counts(books(taken)["UKDF", "USDF", "zp"]) == (2, 2, 2, 0)
    assert "agent of facility UKDF: it died" in taken.message
    driver = await world.driver("USDF")
    (taken,) = await world.move(driver, "gather", ("ingest",), **order)  # type: ignore[arg-type]
    assert taken.ok, taken.message


@scenario("resume")
async def test_cancelling_stops_the_sending(world: World) -> None:
    stalling = StallingCarrier(pieces=1)
    driver = await world.driver("FrDF", carrier=stalling, streams=1)
    move = {"datasets": ["warp"], "at": "USDF"}
    await world.move(driver, "keep", ("register",), **move)
    refs = await submitted(driver, [world.order("keep-transfer", **move)])
    await asyncio.wait_for(stalling.stalled.wait(), 30)
    (answer,) = await driver.cancel(refs)
    assert answer.done
    seen = await wait_until(driver, refs, {Phase.DONE}, 10)
    outcome = seen[refs[0].key].outcome
    assert outcome is not None
    assert (outcome.ok, outcome.message) == (False, "cancelled")


@scenario("again")
async def test_a_file_lost_at_the_destination_is_noticed_and_brought_again(world: World) -> None:
    driver = await world.driver()
    await world.move(driver, "keep", THREE, **KEEP)
    (lost, *_) = await world.files("USDF", "out/again", "zp")
    Path(lost["file"]).unlink()
    carrier = CountingCarrier()
    driver = await world.driver(carrier=carrier)
    (taken,) = await world.move(driver, "keep", ("ingest",), **KEEP)
    assert taken.ok, taken.message
    assert carrier.written == lost["size"]
    assert (await world.files("USDF", "out/again", "zp"))[0]["sha256"] == lost["sha256"]
