"""Archives on a tape element, and the purge that waits for them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from faulty_carriers import CorruptingCarrier, CountingCarrier
from moving_setup import THREE, World, books, counts, scenario
from rubin_stack import rubin_python

from cmd_daemon.hooks import ErrorClass

pytestmark = pytest.mark.asyncio(loop_scope="session")

ZIPPED = {"rse": "USDF_TAPE", "bundle": "zip"}
STAGES = ("bundle", "register", "transfer")


def tape(world: World) -> Path:
    root: str = world.facilities["USDF"].settings["mover"]["tape"]["USDF_TAPE"]
    return Path(root) / world.scenario / "make" / "g1"


def catalogue(world: World) -> list[dict[str, Any]]:
    text = (tape(world) / "catalogue.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@scenario("archive")
async def test_many_small_files_become_few_big_ones_on_tape(
    world: World,
) -> None:
    driver = await world.driver()
    made, registered, stored = await world.move(driver, "archive", STAGES, **ZIPPED)
    assert made.ok, made.message
    assert made.message == "6 datasets in 2 bundles"
    assert registered.ok
    assert stored.ok, stored.message
    found = books(stored)
    assert counts(found["FrDF", "USDF_TAPE", "zp"]) == (4, 4, 4, 4)
    assert counts(found["FrDF", "USDF_TAPE", "warp"]) == (2, 2, 2, 2)
    lines = {line["type"]: line for line in catalogue(world)}
    assert sorted(lines) == ["warp", "zp"]
    zipped = tape(world) / lines["zp"]["name"]
    assert zipped.stat().st_size == lines["zp"]["size"]
    here = await world.uuids("FrDF", "out/archive", "zp")
    assert {each["uuid"] for each in lines["zp"]["datasets"]} == here
    assert world.landing("FrDF", "archive") == []
    # A Butler that never saw them reads the members through the zip where it lies.
    code = (
        "import sys; from lsst.daf.butler import Butler\n"
        "b = Butler.from_config(sys.argv[1], writeable=True)\n"
        "b.ingest_zip(sys.argv[2], transfer='direct')\n"
        "r = b.find_dataset('zp', instrument='DemoCam', visit=1003, "
        "collections='out/archive/make/g1/a1')\n"
        "print(r.id, b.get(r)['visit'], b.getURI(r).fragment.split('=')[0])\n"
    )
    usdf = world.facilities["USDF"].butlers["main"]
    process = await output_of(str(rubin_python()), "-c", code, usdf, str(zipped))
    identity, visit, fragment = process.split()
    assert (visit, fragment) == ("1003", "zip-path")
    assert identity in here


async def output_of(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


@scenario("plain")
async def test_an_archive_is_stored_once_and_a_damaged_file_again(world: World) -> None:
    driver = await world.driver()
    await world.move(driver, "archive", STAGES, **ZIPPED)
    before = {path.name: path.read_bytes() for path in tape(world).iterdir()}
    counting = CountingCarrier()
    driver = await world.driver(carrier=counting)
    again = await world.move(driver, "archive", STAGES, **ZIPPED)
    assert again[2].ok, again[2].message
    after = {path.name: path.read_bytes() for path in tape(world).iterdir()}
    assert after == before
    assert counting.written == len(before["catalogue.jsonl"])
    (name, *_) = sorted(name for name in before if name.endswith(".zip"))
    damaged = bytearray(before[name])
    damaged[10] ^= 0xFF
    (tape(world) / name).write_bytes(damaged)
    (noticed,) = await world.move(driver, "archive", ("transfer",), **ZIPPED)
    assert not noticed.ok
    assert noticed.error_class is ErrorClass.TRANSIENT
    assert f"{name} is damaged on USDF_TAPE" in noticed.message
    assert [line["name"] for line in catalogue(world)] == [
        other for other in sorted(before) if other.endswith(".zip") and other != name
    ]
    (told,) = await world.move(driver, "archive", ("transfer",), **ZIPPED)
    assert not told.ok
    assert "the next attempt makes it again" in told.message
    second = world.agents["FrDF"].asked.count("bundle_datasets")
    (mended,) = await world.move(driver, "archive", ("transfer",), **ZIPPED)
    assert mended.ok, mended.message
    assert world.agents["FrDF"].asked.count("bundle_datasets") > second
    assert len(catalogue(world)) == 2
    assert all(
        (tape(world) / line["name"]).stat().st_size == line["size"] for line in catalogue(world)
    )


@scenario("kill")
async def test_without_bundles_the_files_themselves_are_stored(world: World) -> None:
    driver = await world.driver(carrier=CorruptingCarrier(times=1), chunk=10**6)
    params = {"rse": "USDF_TAPE", "datasets": ["zp"]}
    registered, stored = await world.move(driver, "archive", ("register", "transfer"), **params)
    assert registered.ok
    assert stored.ok, stored.message
    assert counts(books(stored)["FrDF", "USDF_TAPE", "zp"]) == (4, 4, 4, 4)
    assert len(catalogue(world)) == 4


@scenario("again")
async def test_bundles_have_a_largest_size(world: World) -> None:
    driver = await world.driver(bundle_bytes=20_000)
    made, _, stored = await world.move(driver, "archive", STAGES, datasets=["zp"], **ZIPPED)
    assert made.message == "4 datasets in 2 bundles"
    assert stored.ok, stored.message
    assert [len(line["datasets"]) for line in catalogue(world)] == [2, 2]


@scenario("nothing")
async def test_a_tape_element_nobody_has_is_said_so(world: World) -> None:
    driver = await world.driver()
    (made,) = await world.move(driver, "archive", ("bundle",), rse="FR_TAPE", bundle="zip")
    assert made.error_class is ErrorClass.PERMANENT
    assert made.message == (
        "nothing/make/g1: no facility of the campaign (USDF, FrDF, UKDF) has the tape element "
        "'FR_TAPE': name its directory in the facility's section mover.tape"
    )


@scenario("purge")
async def test_a_purge_waits_for_keep_and_archive(world: World) -> None:
    driver = await world.driver()
    purge = world.order("purge", datasets=["warp"], closed=["keep", "archive"])
    early = await world.do(driver, purge)
    assert early.error_class is ErrorClass.PERMANENT
    assert early.message == (
        "purge/make/g1: nothing is purged at FrDF: its keep was never verified"
    )
    zp = await world.files("FrDF", "out/purge", "zp")
    lost = Path(zp[0]["file"])
    content = lost.read_bytes()
    lost.unlink()
    keep = {"datasets": ["zp"], "at": "USDF"}
    await world.move(driver, "keep", THREE, **keep)
    open_books = await world.do(driver, world.order("purge", **purge.params))
    assert open_books.message == (
        "purge/make/g1: nothing is purged at FrDF: its keep lacks 1 datasets, the first is zp "
        f"{zp[0]['uuid']}: its file is lost: {lost} (at FrDF)"
    )
    lost.write_bytes(content)
    (kept,) = await world.move(driver, "keep", ("ingest",), **keep)
    assert kept.ok, kept.message
    no_archive = await world.do(driver, world.order("purge", **purge.params))
    assert "its archive was never verified" in no_archive.message
    *_, stored = await world.move(driver, "archive", STAGES, datasets=["zp"], **ZIPPED)
    assert stored.ok, stored.message
    warps = [Path(each["file"]) for each in await world.files("FrDF", "out/purge", "warp")]
    purged = await world.do(driver, world.order("purge", **purge.params))
    assert purged.ok, purged.message
    assert purged.message.startswith("2 datasets purged, ")
    assert [path.exists() for path in warps] == [False, False]
    assert len(await world.uuids("FrDF", "out/purge", "zp", "warp")) == 4
    again = await world.do(driver, world.order("purge", **purge.params))
    assert again.ok
    assert again.message.startswith("0 datasets purged, ")


@scenario("stay")
async def test_what_is_kept_at_the_facility_itself_is_not_purged(world: World) -> None:
    driver = await world.driver()
    await world.move(driver, "keep", THREE, datasets=["warp"], at="FrDF")
    refused = await world.do(driver, world.order("purge", datasets=["warp"], closed=["keep"]))
    assert "warp is kept at this very facility" in refused.message
    assert len(await world.uuids("FrDF", "out/stay", "warp")) == 2
