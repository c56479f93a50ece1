"""Inputs that a real Rucio knows already: where they are, and how a stage takes them."""

from dataclasses import replace

import pytest
from live_setup import LiveWorld, eventually
from moving_setup import THREE, books, counts, scenario
from rucio_site import SCOPE

from cmd_daemon.hooks import Held, InputsRequest
from cmd_rucio_butler.locator import RucioLocator
from cmd_rucio_butler.probe import RucioProbe

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

WHERE = "instrument = 'DemoCam' AND visit IN (1001, 1003)"
ALL = ("USDF", "FrDF", "UKDF")


@scenario("inputs")
async def test_inputs_are_found_by_their_datasets_and_staged_without_a_second_copy(
    world: LiveWorld,
) -> None:
    world.set("USDF", inputs={"zp": "Dataset/{instrument}/inputs/Visit{visit}/*"})
    source = await world.driver()
    declared = await world.do(source, world.order("keep-register", datasets=["zp"], at="USDF"))
    assert declared.ok, declared.message
    files = [each for each in world.names(world.dataset()) if "1001" in each or "1003" in each]
    assert len(files) == 2
    sizes = {
        each["name"]: each["bytes"] for each in world.client.list_files(SCOPE, world.dataset())
    }
    whole = Held(2, sum(sizes[each] for each in files))
    for visit, file in zip((1001, 1003), files, strict=True):
        name = f"Dataset/DemoCam/inputs/Visit{visit}/night"
        world.client.add_dataset(SCOPE, name)
        world.client.attach_dids(SCOPE, name, [{"scope": SCOPE, "name": file}])
    request = InputsRequest("g", "main", ("out/inputs/make",), ("zp",), WHERE)

    # The source has no rule: only counting its files shows that it holds them.
    (told,) = await RucioLocator().locate([request], ALL, world.host)
    assert told.held == {"USDF": Held(0, 0), "FrDF": whole, "UKDF": Held(0, 0)}
    elsewhere = InputsRequest("e", "main", request.collections, ("zp",), "visit = 1001")
    assert await RucioLocator().locate([elsewhere], ALL, world.host) == []

    dids = [
        {"scope": SCOPE, "name": f"Dataset/DemoCam/inputs/Visit{v}/night"} for v in (1001, 1003)
    ]
    rules = world.client.add_replication_rule(dids, 1, "UKDF_DISK", grouping="DATASET")
    await eventually(
        lambda: all(world.client.get_replication_rule(each)["state"] == "OK" for each in rules)
    )
    (told,) = await RucioLocator().locate([request], ALL, world.host)
    assert told.held == {"USDF": Held(0, 0), "FrDF": whole, "UKDF": whole}

    linked = replace(world.facilities["UKDF"], links={"FrDF": 1e6})
    report = await RucioProbe().look(linked, world.host)
    assert ([each.ok for each in report.checks], report.backlog) == ([True], {"FrDF": 0})

    # What somebody else's rule has brought needs no transfer any more, only the ingest; the chains that
    # lead to it come along.
    *_, taken = await world.move(
        await world.driver("UKDF"),
        "stage",
        THREE,
        step="next",
        here="UKDF",
        datasets=["zp"],
        collections=["out/inputs/make"],
        where=WHERE,
    )
    assert taken.ok, taken.message
    assert counts(books(taken)["Rucio", "UKDF", "zp"]) == (2, 2, 2, 2)
    there = await world.listed("UKDF", "out/inputs/make", ["zp"])
    assert [each["data_id"]["visit"] for each in there] == [1001, 1003]
    still = [
        rule for did in dids for rule in world.client.list_did_rules(did["scope"], did["name"])
    ]
    assert [rule["id"] for rule in still] == list(rules), "the same rules, and still that person's"
    assert [rule["comments"] for rule in still] == [None, None]
