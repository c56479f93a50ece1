"""Movements from and to facilities on another machine, reached over ssh, and faults on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath

import pytest
from far_machine import FarMachine
from moving_setup import THREE, World, books, counts, scenario

from cmd_daemon.hooks import ErrorClass
from cmd_local.moving.manifest import manifest_id
from cmd_local.moving.routing import RoutingCarrier

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEEP = {"datasets": ["zp"], "at": "USDF"}


class WatchedCarrier(RoutingCarrier):
    """Notes the pieces that arrived; does something before the piece number `at`, corrupts some."""

    def __init__(self, world: World, patience_s: float = 30.0) -> None:
        super().__init__(world.host, patience_s)
        self.pieces: list[tuple[str, int, int]] = []
        self.at = -1
        self.act: Callable[[], Awaitable[object]] | None = None
        self.corrupt = 0

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        if self.act is not None and len(self.pieces) == self.at:
            act, self.act = self.act, None
            await act()
        if self.corrupt:
            self.corrupt -= 1
            data = bytes([data[0] ^ 0xFF]) + data[1:]
        await super().write(facility, path, offset, data)
        self.pieces.append((path, offset, len(data)))


@scenario("keep")
async def test_a_keep_to_a_far_facility(world: World) -> None:
    carrier = WatchedCarrier(world)
    driver = await world.driver(carrier=carrier)
    made, moved, taken = await world.move(driver, "keep", THREE, datasets=["zp", "warp"], at="USDF")
    assert (made.ok, moved.ok, taken.ok) == (True, True, True), taken.message
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 4, 4, 4)
    here = await world.uuids("FrDF", "out/keep", "zp", "warp")
    assert await world.uuids("USDF", "out/keep", "zp", "warp") == here
    assert len(here) == 6
    assert world.landing("USDF") == []
    assert len(set(carrier.pieces)) == len(carrier.pieces) > 4


@scenario("gather")
async def test_a_gather_from_a_far_facility(world: World) -> None:
    driver = await world.driver("FrDF", carrier=RoutingCarrier(world.host, 30.0))
    order = {"step": "fit", "group": "all", "datasets": ["zp"], "collections": ["out/gather/make"]}
    *_, taken = await world.move(driver, "gather", THREE, **order)  # type: ignore[arg-type]
    assert taken.ok, taken.message
    assert counts(books(taken)["UKDF", "FrDF", "zp"]) == (2, 2, 2, 2)
    assert counts(books(taken)["USDF", "FrDF", "zp"]) == (1, 1, 1, 1)


@scenario("tape")
async def test_an_archive_on_the_tape_element_of_a_far_facility(world: World) -> None:
    driver = await world.driver(carrier=RoutingCarrier(world.host, 30.0))
    order = {"datasets": ["zp"], "rse": "USDF_TAPE", "bundle": "zip"}
    stages = ("bundle", "register", "transfer")
    *_, stored = await world.move(driver, "archive", stages, **order)  # type: ignore[arg-type]
    assert stored.ok, stored.message
    assert counts(books(stored)["FrDF", "USDF_TAPE", "zp"]) == (4, 4, 4, 4)


@scenario("kill")
async def test_the_far_agent_killed_in_the_middle_of_a_transfer(world: World) -> None:
    driver = await world.driver(carrier=RoutingCarrier(world.host, 30.0))
    await world.move(driver, "keep", ("register",), **KEEP)
    for stage, op in (("transfer", "landing"), ("ingest", "ingest_datasets")):
        world.agents["USDF"].kill_at = op
        (ended,) = await world.move(driver, "keep", (stage,), **KEEP)
        assert ended.ok, ended.message
        assert world.agents["USDF"].asked.count(op) >= 2
    assert world.agents["USDF"].killed == 2
    assert counts(books(ended)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert len(await world.uuids("USDF", "out/kill/make/g1", "zp")) == 4


@scenario("outage")
async def test_the_ssh_server_stopped_and_started_in_the_middle_of_a_transfer(
    world: World, machine: FarMachine
) -> None:
    back: list[asyncio.Task[None]] = []

    async def outage() -> None:
        await asyncio.to_thread(machine.stop)

        async def start_again() -> None:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(machine.start)

        back.append(asyncio.create_task(start_again()))

    carrier = WatchedCarrier(world)
    carrier.at, carrier.act = 5, outage
    driver = await world.driver(carrier=carrier, streams=1)
    _, moved, taken = await world.move(driver, "keep", THREE, **KEEP)
    await asyncio.gather(*back)
    assert back
    assert moved.ok, moved.message
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert len(set(carrier.pieces)) == len(carrier.pieces)
    assert (
        sum(length for *_, length in carrier.pieces) == books(taken)["FrDF", "USDF", "zp"]["bytes"]
    )
    sums = [
        [f["sha256"] for f in await world.files(at, "out/outage", "zp")] for at in ("FrDF", "USDF")
    ]
    assert sums[0] == sums[1]


@scenario("outage")
async def test_an_outage_that_outlasts_the_patience_is_gone_on_with_by_the_next_attempt(
    world: World, machine: FarMachine
) -> None:
    move = {"datasets": ["warp"], "at": "USDF"}
    first = WatchedCarrier(world, patience_s=0.0)
    first.at, first.act = 1, lambda: asyncio.to_thread(machine.stop)
    driver = await world.driver(carrier=first, streams=1, chunk=5)
    await world.move(driver, "keep", ("register",), **move)
    (moved,) = await world.move(driver, "keep", ("transfer",), **move)
    await asyncio.to_thread(machine.start)
    assert not moved.ok
    assert moved.error_class is ErrorClass.TRANSIENT
    assert "the files of USDF cannot be reached" in moved.message
    second = WatchedCarrier(world)
    driver = await world.driver(carrier=second, chunk=5)
    moved, taken = await world.move(driver, "keep", ("transfer", "ingest"), **move)
    assert taken.ok, taken.message
    pieces = first.pieces + second.pieces
    assert len(set(pieces)) == len(pieces), "no piece twice"
    assert sum(n for *_, n in pieces) == books(taken)["FrDF", "USDF", "warp"]["bytes"]


@scenario("corrupt")
async def test_a_file_corrupted_on_the_way_is_sent_again(world: World) -> None:
    carrier = WatchedCarrier(world)
    carrier.corrupt = 2
    driver = await world.driver(carrier=carrier, streams=1, chunk=10**6)
    *_, taken = await world.move(driver, "keep", THREE, **KEEP)
    assert taken.ok, taken.message
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 4, 4, 4)
    assert sum(length for *_, length in carrier.pieces) > entry["bytes"]
    sums = [
        [f["sha256"] for f in await world.files(at, "out/corrupt", "zp")] for at in ("FrDF", "USDF")
    ]
    assert sums[0] == sums[1]


@scenario("gather_lost")
async def test_a_file_lost_at_a_far_source_is_a_gap(world: World) -> None:
    driver = await world.driver("FrDF", carrier=RoutingCarrier(world.host, 30.0))
    order = {"step": "fit", "group": "all", "datasets": ["zp"]}
    order["collections"] = ["out/gather_lost/make"]
    (made,) = await world.move(driver, "gather", ("register",), **order)  # type: ignore[arg-type]
    assert made.ok
    (lost, *_) = await world.files("UKDF", "out/gather_lost/make", "zp")
    Path(lost["file"]).unlink()
    (taken,) = await world.move(driver, "gather", ("ingest",), **order)  # type: ignore[arg-type]
    assert not taken.ok
    assert taken.error_class is ErrorClass.PERMANENT
    entry = books(taken)["UKDF", "FrDF", "zp"]
    assert counts(entry) == (2, 1, 1, 1)
    (gap,) = entry["gaps"]
    assert gap["reason"] == f"its file is lost at UKDF: {lost['file']}"
    assert counts(books(taken)["USDF", "FrDF", "zp"]) == (1, 1, 1, 1)


@scenario("full")
async def test_a_full_disk_at_a_far_destination(world: World) -> None:
    # A name that leads to /dev/full takes no byte: the far kernel itself says ENOSPC.
    carrier = RoutingCarrier(world.host, 30.0)
    driver = await world.driver(carrier=carrier, streams=1)
    await world.move(driver, "keep", ("register",), **KEEP)
    told = await world.agents["USDF"].inner.call(
        "landing", {"repo": "main", "name": manifest_id("full", "make", "g1", "keep")}
    )
    for each in await world.files("FrDF", "out/full", "zp"):
        name = f"{each['uuid']}-{PurePosixPath(each['file']).name[-150:]}.part"
        (Path(told["directory"]) / name).symlink_to("/dev/full")
    (moved,) = await world.move(driver, "keep", ("transfer",), **KEEP)
    assert not moved.ok
    assert moved.error_class is ErrorClass.TRANSIENT
    entry = books(moved)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 0, 0, 0)
    assert {gap["reason"].partition(" (")[0] for gap in entry["gaps"]} == {"no space left at USDF"}
    for path in Path(told["directory"]).iterdir():
        path.unlink()
    (taken,) = await world.move(driver, "keep", ("ingest",), **KEEP)
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
