"""Movements between real Butlers when nothing goes wrong, and what is no fault."""

import pytest
from moving_setup import THREE, World, books, counts, scenario

from cmd_daemon.hooks import ErrorClass, JobRef, Refused

pytestmark = pytest.mark.asyncio(loop_scope="session")


@scenario("keep")
async def test_keep_brings_the_groups_outputs_and_verifies_them(world: World) -> None:
    driver = await world.driver()
    made, moved, taken = await world.move(driver, "keep", THREE, datasets=["zp", "warp"], at="USDF")
    assert made.ok
    assert moved.ok
    assert taken.ok, taken.message
    assert counts(books(made)["FrDF", "USDF", "zp"]) == (4, 0, 0, 0)
    assert counts(books(moved)["FrDF", "USDF", "zp"]) == (4, 4, 4, 0)
    entry = books(taken)["FrDF", "USDF", "zp"]
    assert counts(entry) == (4, 4, 4, 4)
    assert entry["bytes"] > 36_000
    assert entry["gaps"] == []
    for chain in ("out/keep/make/g1", "out/keep/make", "out/keep"):
        here = await world.uuids("FrDF", chain, "zp", "warp")
        assert len(here) == 6
        assert await world.uuids("USDF", chain, "zp", "warp") == here, chain
    (run,) = {each["run"] for each in await world.listed("USDF", "out/keep")}
    assert run == "out/keep/make/g1/a1"
    assert world.landing("USDF") == []


@scenario("dimensions")
async def test_dimension_records_and_dataset_types_come_along(world: World) -> None:
    # UKDF has neither the sky map nor its tracts, and nobody there has ever made a warp.
    driver = await world.driver()
    *_, taken = await world.move(driver, "keep", THREE, datasets=["warp"], at="UKDF")
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "UKDF", "warp"]) == (2, 2, 2, 2)
    there = await world.listed("UKDF", "out/dimensions", ["warp"])
    assert there == await world.listed("FrDF", "out/dimensions", ["warp"])


@scenario("again")
async def test_everything_twice_is_nothing_twice(world: World) -> None:
    driver = await world.driver()
    first = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    files = await world.files("USDF", "out/again", "zp")
    second = await world.move(driver, "keep", THREE, datasets=["zp"], at="USDF")
    assert [o.ok for o in first + second] == [True] * 6
    assert second[2].extra == first[2].extra
    assert await world.files("USDF", "out/again", "zp") == files
    assert "ingest_datasets" not in world.agents["USDF"].asked[-8:]


@scenario("gather")
async def test_gather_joins_what_all_facilities_made(world: World) -> None:
    driver = await world.driver("USDF")
    for _ in range(2):
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
        # The same data ids were made at several facilities, in runs of their own: all arrive.
        assert counts(found["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
        assert counts(found["UKDF", "USDF", "zp"]) == (2, 2, 2, 2)
        assert counts(found["USDF", "USDF", "zp"]) == (1, 1, 1, 1)
    for group, visits in (("g1", 4), ("g2", 2), ("g3", 1)):
        assert len(await world.uuids("USDF", f"out/gather/make/{group}", "zp")) == visits
    assert len(await world.uuids("USDF", "out/gather/make", "zp")) == 4  # each data id once


@scenario("scatter")
async def test_scatter_by_visit_leaves_out_what_the_receiver_does_not_hold(world: World) -> None:
    driver = await world.driver()
    *_, taken = await world.move(driver, "scatter", THREE, datasets=["zp"], by="visit")
    assert taken.ok, taken.message
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    entry = books(taken)["FrDF", "UKDF", "zp"]
    assert counts(entry) == (4, 2, 2, 2)
    assert entry["not_for_here"] == 2
    assert [data_id["visit"] for data_id in entry["left_out"]] == [1003, 1004]
    assert entry["gaps"] == []
    there = await world.listed("UKDF", "out/scatter/make", ["zp"])
    assert [each["data_id"]["visit"] for each in there] == [1001, 1002]


@scenario("stranger")
async def test_scatter_without_by_has_a_gap_where_a_visit_is_not_held(world: World) -> None:
    driver = await world.driver()
    *_, taken = await world.move(driver, "scatter", THREE, datasets=["zp"])
    assert not taken.ok
    assert taken.error_class is ErrorClass.PERMANENT
    assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
    entry = books(taken)["FrDF", "UKDF", "zp"]
    assert counts(entry) == (4, 4, 4, 2)
    reasons = [gap["reason"] for gap in entry["gaps"]]
    assert len(reasons) == entry["missing"] == 2
    assert reasons[0].startswith(
        "UKDF: the receiving Butler does not hold instrument DemoCam, visit 1003"
    )
    assert "stranger/make/g1" in taken.message


@scenario("stay")
async def test_what_is_there_already_is_verified_and_stays(world: World) -> None:
    driver = await world.driver()
    *_, taken = await world.move(driver, "keep", THREE, datasets=["zp"], at="FrDF")
    assert taken.ok
    assert counts(books(taken)["FrDF", "FrDF", "zp"]) == (4, 4, 4, 4)
    assert "landing" not in world.agents["FrDF"].asked


@scenario("nothing")
async def test_an_empty_selection_is_well_and_says_so(world: World) -> None:
    driver = await world.driver()
    ended = await world.move(driver, "keep", THREE, datasets=["never_made"], at="USDF")
    assert [o.ok for o in ended] == [True] * 3
    assert [o.extra["books"] for o in ended] == [[]] * 3
    assert ended[2].message == (
        "nothing/make/g1: nothing to keep: no dataset of never_made in out/nothing/make/g1 at FrDF"
    )


@scenario("nothing")
async def test_orders_that_cannot_be_done_are_refused_with_the_reason(world: World) -> None:
    driver = await world.driver()
    for job, params, words in (
        ("keep-register", {"datasets": ["zp"]}, "a keep job needs 'at'"),
        ("keep-register", {"at": "USDF"}, "needs 'datasets'"),
        ("scatter-ingest", {"datasets": ["zp"], "facilities": []}, "needs 'facilities'"),
        ("archive-bundle", {"rse": "T", "bundle": "tar"}, "not as 'tar'"),
        ("archive-register", {}, "needs 'rse'"),
        ("other-register", {"datasets": ["zp"]}, "is no part of a movement"),
    ):
        (answer,) = await driver.submit([world.order(job, **params)])
        assert isinstance(answer, Refused), job
        assert answer.error_class is ErrorClass.PERMANENT
        assert words in answer.message
    lost = await world.do(driver, world.order("keep-register", datasets=["zp"], at="NODF"))
    assert lost.message == (
        "nothing/make/g1: keep-register: there is no facility 'NODF' in the configuration"
    )
    assert lost.error_class is ErrorClass.PERMANENT


@scenario("nothing")
async def test_the_parts_of_an_attempt_are_its_books(world: World) -> None:
    driver = await world.driver()
    order = world.order("keep-register", datasets=["zp"], at="USDF")
    await world.do(driver, order)
    (found,) = await driver.find([order.key])
    (part,) = await driver.inspect(JobRef(order.key, found.ref))  # type: ignore[union-attr]
    assert (part.name, part.state) == ("FrDF -> USDF zp", "complete")
    assert part.counts["made"] == 4
