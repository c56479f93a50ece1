"""Inputs that are in a real Rucio already, in a scope and at RSEs of their own, come before a group."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_inputs import RAW, RAW_DISK, Raw, add_raw_disks, held, put
from live_setup import LiveWorld, eventually
from moving_setup import THREE, books, counts, scenario
from rucio_site import Site

from cmd_daemon.hooks import (
    Command,
    Control,
    ErrorClass,
    JobOrder,
    JobRef,
    Observation,
    Outcome,
    Phase,
)
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_rucio_butler.driver import RucioDriver

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def disks(site: Site) -> Mapping[str, Path]:
    """The directories for raw images at USDF and UKDF; Rucio knows of them."""
    return add_raw_disks(site)


def known(world: LiveWorld, disks: Mapping[str, Path]) -> None:
    """Say where UKDF has raw images."""
    place = {"rse": RAW_DISK["UKDF"], "root": str(disks["UKDF"])}
    world.set("UKDF", scopes={RAW: place})


def run_of(world: LiveWorld) -> str:
    """The run with the inputs of the scenario's own."""
    return f"out/{world.scenario}/make/g1/a1"


def dataset(world: LiveWorld, visit: int) -> str:
    """The name of a dataset with a visit's inputs."""
    return f"Dataset/DemoCam/{world.scenario}/{visit}/night"


def pattern(world: LiveWorld, dimension: str = "visit") -> str:
    """The pattern of the datasets' names."""
    return f"raw:Dataset/{{instrument}}/{world.scenario}/{{{dimension}}}/*"


def within(*visits: int, dimension: str = "visit") -> str:
    """The data query for visits, or exposures."""
    return f"instrument = 'DemoCam' AND {dimension} IN ({', '.join(map(str, visits))})"


def asked(world: LiveWorld, *visits: int, **params: Any) -> dict[str, Any]:
    """What a stage of these visits' inputs to UKDF asks for."""
    return {
        "step": "next",
        "here": "UKDF",
        "datasets": ["zp"],
        "existing": {"zp": pattern(world)},
        "collections": [run_of(world)],
        "where": within(*visits),
        **params,
    }


async def inputs(world: LiveWorld, visit: int) -> list[Raw]:
    """A visit's inputs in the scenario's own run."""
    return await held(world, "zp", run_of(world), within(visit))


async def registered(world: LiveWorld, disks: Mapping[str, Path], *visits: int) -> None:
    """Have others put the visits' inputs into Rucio, each visit in a dataset."""
    for visit in visits:
        put(world, disks, dataset(world, visit), await inputs(world, visit))


def rules(world: LiveWorld, exposure: int) -> dict[str, dict[str, Any]]:
    """The rules of an exposure's dataset by RSE."""
    found = world.client.list_did_rules(RAW, dataset(world, exposure))
    return {rule["rse_expression"]: rule for rule in found}


async def stage(world: LiveWorld, driver: RucioDriver, **told: Any) -> list[Outcome]:
    return await world.move(driver, "stage", THREE, **told)


async def noted(driver: RucioDriver, ref: JobRef, words: str) -> Observation:
    """Wait until a running attempt's progress says so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            (seen,) = await driver.observe([ref])
            assert seen.phase is Phase.RUNNING, seen
            if seen.progress is not None and words in seen.progress.note:
                return seen
            await asyncio.sleep(0.1)


@scenario("raws")
async def test_raw_images_come_by_a_rule_and_stay_where_rucio_put_them(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    run = "DemoCam/raw"
    made = []
    for exposure in (1003, 1004):
        raws = await held(world, "raw", run, within(exposure, dimension="exposure"))
        made += [replace(each, kind="raw_file") for each in raws]
        put(world, disks, dataset(world, exposure), made[-len(raws) :])
    known(world, disks)
    told = asked(
        world,
        datasets=["raw"],
        existing={"raw": pattern(world, "exposure")},
        collections=[run],
        where=within(1003, 1004, dimension="exposure"),
    )
    driver = await world.driver("UKDF")
    for agent in world.agents.values():
        agent.asked.clear()
    first, moved, taken = await stage(world, driver, **told)
    assert [each.ok for each in (first, moved, taken)] == [True] * 3, taken.message
    assert "4 of 4 datasets registered" in first.message
    assert counts(books(moved)["Rucio", "UKDF", "raw"]) == (4, 4, 4, 0)
    entry = books(taken)["Rucio", "UKDF", "raw"]
    assert (counts(entry), entry["gaps"]) == ((4, 4, 4, 4), [])
    assert (entry["registered"], entry["rule_ok"]) == (4, 4)
    assert world.agents["USDF"].asked == world.agents["FrDF"].asked == [], "no Butler is a source"
    for exposure in (1003, 1004):
        (rule,) = rules(world, exposure).values()
        assert (rule["rse_expression"], rule["state"]) == (RAW_DISK["UKDF"], "OK")
        assert rule["comments"] == "cmd raws/next/g1 stage"
    # They are the same datasets, read where they lie: outside of the datastore.
    files = await world.files("UKDF", run, "raw")
    assert {each["file"] for each in files} == {str(disks["UKDF"] / each.lfn) for each in made}
    here = {each["uuid"]: each["sha256"] for each in await world.files("FrDF", run, "raw")}
    assert all(here[each["uuid"]] == each["sha256"] for each in files)
    # Again: nothing is brought or made twice.
    *_, again = await stage(world, driver, **told)
    assert counts(books(again)["Rucio", "UKDF", "raw"]) == (4, 4, 4, 4)
    assert await world.files("UKDF", run, "raw") == files


@scenario("patterns")
async def test_the_facilities_patterns_say_it_too_and_other_types_come_from_butlers(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    await registered(world, disks, 1001)
    known(world, disks)
    world.set("USDF", inputs={"zp": pattern(world)})
    driver = await world.driver("UKDF")
    told = asked(world, existing={}, datasets=["zp", "warp"])
    told["where"] = f"{within(1001)} AND skymap = 'demo_sky' AND tract = 1"
    *_, taken = await stage(world, driver, **told)
    assert taken.ok, taken.message
    assert counts(books(taken)["Rucio", "UKDF", "zp"]) == (1, 1, 1, 1)
    assert counts(books(taken)["FrDF", "UKDF", "warp"]) == (1, 1, 1, 1)


@scenario("notyet")
async def test_a_dataset_that_is_not_there_yet_is_waited_for(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    await registered(world, disks, 1001)
    known(world, disks)
    driver = await world.driver("UKDF")
    order = world.order("stage-register", **asked(world, 1001, 1002))
    (ref,) = await submitted(driver, [order])
    words = "not yet: Rucio has no files of raw:Dataset/DemoCam/notyet/1002/*"
    seen = await noted(driver, ref, words)
    assert seen.progress is not None
    assert (seen.progress.done, seen.progress.total) == (1, 2)
    await registered(world, disks, 1002)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    assert counts(books(outcome)["Rucio", "UKDF", "zp"]) == (2, 2, 0, 0)


@scenario("unsaid")
async def test_files_of_which_nobody_says_what_they_are_are_not_passed_over(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    (good,), (bad,) = await inputs(world, 1001), await inputs(world, 1002)
    name = dataset(world, 1001)
    put(world, disks, name, [good, replace(bad, lfn="unsaid/bad", kind="")])
    known(world, disks)
    driver = await world.driver("UKDF")
    refused = await world.do(driver, world.order("stage-register", **asked(world, 1001)))
    assert refused.error_class is ErrorClass.PERMANENT
    assert f"1 of 2 files of raw:{name} cannot be taken in" in refused.message
    assert "the first is unsaid/bad: register them as Rubin's rucio-register does" in (
        refused.message
    )
    assert rules(world, 1001) == {}


@scenario("nowhere")
async def test_what_is_wrong_with_a_stage_is_told_before_anything_moves(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    await registered(world, disks, 1001)
    driver = await world.driver("UKDF")
    for changes, words in (
        ({}, "add [facility.UKDF.settings.rucio.scopes.raw] with rse and root"),
        ({"where": "instrument = 'DemoCam'"}, "does not fix each dimension of 'raw:Dataset/"),
    ):
        told = {**asked(world, 1001), **changes}
        refused = await world.do(driver, world.order("stage-register", **told))
        assert refused.error_class is ErrorClass.PERMANENT
        assert words in refused.message
    assert rules(world, 1001) == {}


@scenario("unchained")
async def test_inputs_that_the_steps_collections_do_not_lead_to_are_told(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    await registered(world, disks, 1001)
    known(world, disks)
    driver = await world.driver("UKDF")
    told = asked(world, 1001, collections=["inputs/unchained"])
    *_, taken = await stage(world, driver, **told)
    assert taken.error_class is ErrorClass.PERMANENT
    assert (
        f"in {run_of(world)}, to which none of the step's collections (inputs/unchained) leads"
        in (taken.message)
    )
    assert counts(books(taken)["Rucio", "UKDF", "zp"]) == (1, 1, 1, 1)
    chain = {"name": "inputs/unchained", "children": [run_of(world)], "mode": "prepend"}
    await world.agents["UKDF"].inner.call("chain", {"repo": "main", "chains": [chain]})
    again = await world.do(driver, world.order("stage-ingest", **told))
    assert again.ok, again.message


@scenario("rawpin")
async def test_a_source_is_pinned_until_its_inputs_are_taken_in(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    await registered(world, disks, 1001)
    known(world, disks)
    place = {"rse": RAW_DISK["USDF"], "root": str(disks["USDF"])}
    world.set("USDF", scopes={RAW: place}, pin_s=3600)
    driver = await world.driver("UKDF")
    _, moved = await world.move(driver, "stage", THREE[:2], **asked(world, 1001))
    assert moved.ok, moved.message
    held = rules(world, 1001)
    assert set(held) == set(RAW_DISK.values())
    assert held[RAW_DISK["USDF"]]["expires_at"] is not None
    taken = await world.do(driver, world.order("stage-ingest", **asked(world, 1001)))
    assert taken.ok, taken.message
    await eventually(lambda: set(rules(world, 1001)) == {RAW_DISK["UKDF"]})


@scenario("zipped")
async def test_files_of_dimensions_come_first_then_zips(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    far = world.agents["FrDF"].inner
    zps = [z for z in await world.listed("FrDF", "out/zipped/make") if z["type"] == "zp"]
    uuids = [each["uuid"] for each in zps]
    root = Path(world.facilities["FrDF"].butlers["main"])
    told = await far.call(
        "zip_files", {"repo": "main", "uuids": uuids, "directory": "zipped-by-others"}
    )
    records = root / "zipped-by-others" / "records.yaml"
    exported = await far.call("export_dimensions", {"repo": "main", "uuids": uuids})
    records.write_text(exported["records"])
    name = "Dataset/DemoCam/zipped/all"
    files = [
        Raw(root / told["lfn"], f"zipped/{Path(told['lfn']).name}", "zip_file"),
        Raw(records, "zipped/records.yaml", "dim_file"),
    ]
    put(world, disks, name, files)
    known(world, disks)
    driver = await world.driver("UKDF")
    told = asked(world, existing={"zp": f"raw:{name}"}, where="")
    *_, taken = await stage(world, driver, **told)
    assert taken.ok, taken.message
    assert counts(books(taken)["Rucio", "UKDF", "zip_file"]) == (1, 1, 1, 1)
    assert counts(books(taken)["Rucio", "UKDF", "dim_file"]) == (1, 1, 1, 1)
    assert await world.uuids("UKDF", run_of(world), "zp") == set(uuids)


@scenario("shared")
async def test_groups_that_need_the_same_dataset_share_its_rule(
    world: LiveWorld, disks: Mapping[str, Path]
) -> None:
    await registered(world, disks, 1001)
    known(world, disks)
    world.site.transfers.fault("out/shared/make", hold=True)
    driver = await world.driver("UKDF")
    orders: list[JobOrder] = []
    refs: list[JobRef] = []
    for group in ("one", "two"):
        told = asked(world, 1001, group=group)
        await world.do(driver, world.order("stage-register", **told))
        orders.append(world.order("stage-transfer", **told))
        refs += await submitted(driver, orders[-1:])
        await eventually(
            lambda group=group: (
                [r["comments"] for r in rules(world, 1001).values()]  # type: ignore[misc]
                == [f"cmd shared/next/{group} stage"]
            )
        )
    # It is the second one's now: the first can neither pause nor end it.
    (answer,) = await driver.control([Control(refs[0].key, refs[0].ref, Command.PAUSE)])
    assert answer.done, answer.message
    (rule,) = rules(world, 1001).values()
    assert rule["state"] == "REPLICATING"
    await driver.cancel(refs[:1])
    await asyncio.to_thread(world.site.daemons.round, "cleaner")
    (still,) = rules(world, 1001).values()
    assert (still["id"], still["state"]) == (rule["id"], "REPLICATING")
    world.site.transfers.clear()
    outcome = (await outcomes(driver, refs[1:], DEADLINE_S))[orders[1].key]
    assert outcome.ok, outcome.message
