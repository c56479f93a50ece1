"""The agent's operation `held_inputs`: how much of groups' inputs a repository holds."""

import json
from collections.abc import Iterator

import pytest
from stack_processes import Agent, Facility

COLLECTIONS = ["DemoCam/defaults", "no/such/collection"]


@pytest.fixture(scope="module")
def reader(sky: Facility) -> Iterator[Agent]:
    """An agent at the smallest sky."""
    running = Agent(sky, {"main": sky.repo})
    yield running
    assert running.end() == 0


def held(reader: Agent, *wheres: str, datasets: tuple[str, ...] = ("raw",)) -> list[dict[str, int]]:
    told = reader.result(
        "held_inputs",
        repo="main",
        collections=COLLECTIONS,
        datasets=list(datasets),
        wheres=list(wheres),
    )
    return list(told["held"])


def test_raws_of_a_tract_are_those_of_the_visits_that_overlap_it(
    reader: Agent, sky: Facility
) -> None:
    wheres = [f"skymap='demo_sky' AND tract={tract} AND instrument='DemoCam'" for tract in (1, 2)]
    found = held(reader, *wheres)
    for where, entry in zip(wheres, found, strict=True):
        rows = reader.result(
            "query_data_ids",
            repo="main",
            dimensions=["visit", "detector"],
            where=where,
            datasets=["raw"],
            collections=["DemoCam/defaults"],
        )["rows"]
        assert entry["files"] == len({tuple(row) for row in rows}) > 0
    everything = held(reader, "instrument='DemoCam'")[0]
    truth = json.loads(sky.truth.read_text())
    assert everything["files"] == 2 * len(truth["visits"])
    assert max(entry["files"] for entry in found) < everything["files"]


def test_queries_by_visit_and_by_exposure(reader: Agent) -> None:
    by_visit, by_exposure, by_detector = held(
        reader,
        "instrument='DemoCam' AND visit IN (1001, 1002)",
        "instrument='DemoCam' AND exposure IN (1001, 1002)",
        "instrument='DemoCam' AND visit = 1001 AND detector = 0",
    )
    assert by_visit == by_exposure
    assert by_visit["files"] == 4
    assert by_detector["files"] == 1


def test_bytes_are_those_of_the_files(reader: Agent) -> None:
    (all_raws,) = held(reader, "")
    (both,) = held(reader, "", datasets=("raw", "never_made"))
    assert both == all_raws
    told = reader.result(
        "count_datasets", repo="main", collections=["DemoCam/defaults"], types=["raw"], bytes=True
    )["types"]["raw"]
    assert all_raws == {"files": told["count"], "bytes": told["bytes"]}


def test_what_the_repository_does_not_know_it_does_not_hold(reader: Agent) -> None:
    wheres = (
        "instrument='OtherCam' AND visit=1001",
        "instrument='DemoCam' AND visit=99999",
        "skymap='other_sky' AND tract=1",
        "skymap='demo_sky' AND tract=77",
        "nonsense = 3",
    )
    assert held(reader, *wheres) == [{"files": 0, "bytes": 0}] * len(wheres)
    told = reader.result(
        "held_inputs", repo="main", collections=["none"], datasets=["raw"], wheres=["", ""]
    )
    assert told["held"] == [{"files": 0, "bytes": 0}] * 2
