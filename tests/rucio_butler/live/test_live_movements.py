"""Movements between real Butlers through a real Rucio when nothing goes wrong."""

import json

import pytest
from live_setup import LiveWorld, eventually
from moving_setup import THREE, books, counts, scenario
from rucio_site import SCOPE

from cmd_daemon.hooks import JobRef, Phase
from cmd_daemon.testing.driver_contract import outcomes, submitted

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


@scenario("keep")
async def test_keep_brings_the_groups_outputs_through_rucio(world: LiveWorld) -> None:
    driver = await world.driver()
    made, moved, taken = await world.move(driver, "keep", THREE, datasets=["zp", "warp"], at="USDF")
    assert made.ok, made.message
    assert moved.ok, moved.message
    assert taken.ok, taken.message
    assert "6 of 6 datasets registered" in made.message
    assert counts(books(made)["FrDF", "USDF", "zp"]) == (4, 4, 0, 0)
    assert counts(books(moved)["FrDF", "USDF", "zp"]) == (4, 4, 4, 0)
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 4, 4, 4)
    assert (entry["registered"], entry["rule_ok"], entry["gaps"]) == (4, 4, [])
    for chain in ("out/keep/make/g1", "out/keep/make", "out/keep"):
        here = await world.uuids("FrDF", chain, "zp", "warp")
        assert len(here) == 6
        assert await world.uuids("USDF", chain, "zp", "warp") == here, chain
    # Rucio has the same datasets, as Rubin's own tools would look for them.
    names = world.names(world.dataset())
    told = world.client.get_metadata_bulk(
        [{"scope": SCOPE, "name": n} for n in names], plugin="JSON"
    )
    sidecars = [json.loads(each["rubin_sidecar"]) for each in told]
    assert {each["id"] for each in sidecars} == await world.uuids("FrDF", "out/keep", "zp", "warp")
    (rule,) = world.rules(world.dataset())
    assert (rule["rse_expression"], rule["state"], rule["locks_ok_cnt"]) == ("USDF_DISK", "OK", 6)
    assert rule["comments"] == "cmd keep/make/g1 keep"
    assert world.client.get_did(SCOPE, world.dataset())["open"] is False
    content = world.client.list_content(SCOPE, "Container/keep/make")
    assert [each["name"] for each in content] == [world.dataset()]
    parts = await driver.inspect(
        JobRef("keep/make/g1/keep-ingest#1", driver._orders.ref("keep/make/g1/keep-ingest#1"))
    )
    (part,) = [part for part in parts if part.kind == "rule"]
    assert (part.state, dict(part.counts)) == ("OK", {"ok": 6, "replicating": 0, "stuck": 0})
    # In place: the file that the Butler names is the one that Rucio brought.
    (file,) = (
        f for f in await world.files("USDF", "out/keep", "zp") if f["data_id"]["visit"] == 1001
    )
    assert any(file["file"].endswith(name) for name in names)


@scenario("again")
async def test_everything_twice_is_nothing_twice(world: LiveWorld) -> None:
    driver = await world.driver()
    first = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    files = await world.files("USDF", "out/again", "zp")
    second = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert [o.ok for o in first + second] == [True] * 6, [o.message for o in first + second]
    assert second[2].extra == first[2].extra
    assert await world.files("USDF", "out/again", "zp") == files
    assert len(world.rules(world.dataset())) == 1


@scenario("gather")
async def test_gather_joins_what_all_facilities_made(world: LiveWorld) -> None:
    driver = await world.driver("USDF")
    *_, taken = await world.move(
        driver,
        "gather",
        THREE,
        step="fit",
        group="all",
        here="USDF",
        datasets=["zp"],
        collections=["out/gather/make"],
    )
    assert taken.ok, taken.message
    found = books(taken)
    assert counts(found["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    assert counts(found["UKDF", "USDF", "zp"]) == (2, 2, 2, 2)
    assert counts(found["USDF", "USDF", "zp"]) == (1, 1, 1, 1)
    for group, visits in (("g1", 4), ("g2", 2), ("g3", 1)):
        assert len(await world.uuids("USDF", f"out/gather/make/{group}", "zp")) == visits
    for source, files in (("FrDF", 4), ("UKDF", 2)):
        assert len(world.names(f"Dataset/gather/fit/all/{source}/gather")) == files


@scenario("scatter")
async def test_scatter_sends_each_receiver_its_own_share(world: LiveWorld) -> None:
    driver = await world.driver()
    *_, taken = await world.move(driver, "scatter", THREE, datasets=["zp"], by="visit")
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    entry = books(taken)["FrDF", "UKDF", "zp"]
    assert (counts(entry), entry["not_for_here"]) == ((4, 2, 2, 2), 2)
    assert len(world.names(world.dataset(kind="scatter-UKDF"))) == 2
    there = await world.listed("UKDF", "out/scatter/make", ["zp"])
    assert [each["data_id"]["visit"] for each in there] == [1001, 1002]


@scenario("zips")
async def test_small_types_go_as_zips(world: LiveWorld) -> None:
    world.set("FrDF", bundle=["z*"], bundle_members=3)
    driver = await world.driver()
    made, _, taken = await world.move(driver, "keep", THREE, datasets=["zp", "warp"], at="UKDF")
    assert made.ok, made.message
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "UKDF", "zp"]) == (4, 4, 4, 4)
    assert await world.uuids("UKDF", "out/zips", "zp", "warp") == await world.uuids(
        "FrDF", "out/zips", "zp", "warp"
    )
    names = world.names(world.dataset())
    zips = [name for name in names if name.endswith(".zip")]
    assert (len(zips), len(names)) == (2, 4)  # 3 + 1 zp in two zips, two warps by themselves
    told = world.client.get_metadata_bulk([{"scope": SCOPE, "name": zips[0]}], plugin="JSON")
    assert [(each["rubin_butler"], each["rubin_sidecar"]) for each in told] == [("zip_file", "")]
    again = await world.do(driver, world.order("keep-ingest", datasets=["zp", "warp"], at="UKDF"))
    assert again.ok, again.message
    assert world.names(world.dataset()) == names


@scenario("pin")
async def test_a_pin_holds_the_source_until_the_movement_is_verified(world: LiveWorld) -> None:
    world.set("FrDF", pin_s=3600)
    driver = await world.driver()
    made, moved = await world.move(driver, "keep", THREE[:2], datasets=["zp"], at="USDF")
    assert made.ok, made.message
    assert moved.ok, moved.message
    rses = {rule["rse_expression"]: rule["expires_at"] for rule in world.rules(world.dataset())}
    assert set(rses) == {"FRDF_DISK", "USDF_DISK"}
    assert rses["FRDF_DISK"] is not None
    assert rses["USDF_DISK"] is None
    taken = await world.do(driver, world.order("keep-ingest", datasets=["zp"], at="USDF"))
    assert taken.ok, taken.message
    await eventually(
        lambda: [r["rse_expression"] for r in world.rules(world.dataset())] == ["USDF_DISK"]
    )


@scenario("purge")
async def test_a_purge_comes_after_what_rucio_kept(world: LiveWorld) -> None:
    driver = await world.driver()
    early = await world.do(driver, world.order("purge", datasets=["warp"], closed=["keep"]))
    assert not early.ok
    assert "its keep was never verified" in early.message
    *_, taken = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert taken.ok, taken.message
    done = await world.do(driver, world.order("purge", datasets=["warp"], closed=["keep"]))
    assert done.ok, done.message
    assert await world.uuids("FrDF", "out/purge/make/g1", "warp") == set()
    assert len(await world.uuids("FrDF", "out/purge/make/g1", "zp")) == 4


@scenario("stage")
async def test_inputs_are_staged_in_by_rule(world: LiveWorld) -> None:
    driver = await world.driver("UKDF")
    *_, taken = await world.move(
        driver,
        "stage",
        THREE,
        step="next",
        here="UKDF",
        datasets=["zp"],
        collections=["out/stage/make"],
        where="instrument = 'DemoCam' AND visit IN (1001, 1003)",
    )
    assert taken.ok, taken.message
    there = await world.listed("UKDF", "out/stage/make", ["zp"])
    assert [each["data_id"]["visit"] for each in there] == [1001, 1003]


ARCHIVE = ("bundle", "register", "transfer")


@scenario("archive")
async def test_zips_go_to_tape(world: LiveWorld) -> None:
    driver = await world.driver()
    single = await world.do(driver, world.order("archive-register", rse="USDF_TAPE"))
    assert not single.ok
    assert "only zips are archived" in single.message
    told = await world.move(driver, "archive", ARCHIVE, rse="USDF_TAPE", bundle="zip")
    assert [each.ok for each in told] == [True] * 3, [each.message for each in told]
    assert "6 of 6 datasets archived" in told[-1].message
    for outcome, there in ((told[-2], 0), (told[-1], 6)):
        entries = books(outcome).values()
        assert [sum(e[k] for e in entries) for k in ("registered", "rule_ok")] == [6, there]
    (name,) = world.names(world.dataset(kind="archive"))
    assert world.site.path("USDF_TAPE", SCOPE, name).is_file()
    (rule,) = world.rules(world.dataset(kind="archive"))
    assert (rule["rse_expression"], rule["state"]) == ("USDF_TAPE", "OK")


@scenario("pair")
async def test_a_site_archives_by_metadata_and_shows_it(world: LiveWorld) -> None:
    world.set(
        "FrDF",
        archive_metadata={"arcBackup": "SLAC_BKUP:need"},
        archive_evidence={"arcBackup": "done$"},
    )
    driver = await world.driver()
    for stage in ARCHIVE[:2]:
        done = await world.do(
            driver, world.order(f"archive-{stage}", rse="USDF_TAPE", bundle="zip")
        )
        assert done.ok, done.message
    order = world.order("archive-transfer", rse="USDF_TAPE", bundle="zip")
    dataset = world.dataset(kind="archive")

    def metadata() -> str:
        told = world.client.get_metadata(SCOPE, dataset, plugin="JSON")
        return str(told.get("arcBackup"))

    (ref,) = await submitted(driver, [order])
    await eventually(lambda: metadata() == "SLAC_BKUP:need")
    assert (await driver.observe([ref]))[0].phase is Phase.RUNNING
    world.client.set_metadata(SCOPE, dataset, "arcBackup", "SLAC_BKUP:done")
    outcome = (await outcomes(driver, [ref], 60.0))[order.key]
    assert outcome.ok, outcome.message
    assert world.rules(dataset) == []
