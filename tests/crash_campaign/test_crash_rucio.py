"""What makes the rounds with a Rucio a proof: each part of it can fail. They themselves run in
`make crash`."""

import copy
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import run
from campaign_faults import POINTS, RANDOM, RUCIO_POINTS, RUCIO_TROUBLES, Tally, lives
from campaign_rucio_pilot import FILE, MOVED, WANTED
from campaign_rucio_points import CLASSES
from campaign_rucio_proof import (
    content_of,
    movements,
    problems_in_butlers,
    problems_in_nexus,
    problems_in_rucio,
)
from click.testing import CliRunner
from live_setup import DISK

Json = dict[str, Any]
CAMPAIGN = "r0c0"


def made() -> list[Json]:
    """One output of each kind, and one that UKDF does not get."""
    rows = (
        ("french", "1", "FrDF", "product", 1001),
        ("french", "1", "FrDF", "catalog", 1001),
        ("british", "2", "UKDF", "run_log", 1002),
        ("fit", "all", "USDF", "fit", 1001),
        ("fit", "all", "USDF", "fit", 1004),
    )
    names = ("step", "group", "facility", "type", "visit")
    return [
        {"campaign": CAMPAIGN, "uuid": f"id{n}", **dict(zip(names, row, strict=True))}
        for n, row in enumerate(rows)
    ]


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    """The directories of the RSEs' files."""
    return {rse: tmp_path / rse for rse in DISK.values()}


@pytest.fixture
def told(roots: dict[str, Path]) -> Json:
    """What Rucio says when all is well, and the files on the disks."""
    datasets = []
    for movement in movements(CAMPAIGN, made()):
        rses = [DISK[movement.source], DISK[movement.destination]]
        files = []
        for uuid in movement.contents:
            content = uuid.encode()
            for rse in rses:
                path = roots[rse] / f"u/me/{uuid}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            files.append(
                {
                    "name": str(path.relative_to(roots[rse])),
                    "size": len(content),
                    "adler32": f"{zlib.adler32(content):08x}",
                    "at": rses,
                    "states": dict.fromkeys(rses, "AVAILABLE"),
                    "uuids": [uuid],
                }
            )
        rule = {"rse": rses[1], "state": "OK", "ok": len(files)}
        datasets.append({"name": movement.name, "open": False, "rules": [rule], "files": files})
    names = sorted({file["name"] for each in datasets for file in each["files"]})
    return {
        "datasets": datasets,
        "files": names,
        "rules": len(datasets),
        "former rules": 0,
        "zips on disk": [],
    }


def test_what_is_to_be_moved_follows_from_what_was_made() -> None:
    wanted = {each.name: set(each.contents) for each in movements(CAMPAIGN, made())}
    assert wanted == {
        "Dataset/r0c0/french/1/FrDF/keep": {"id0"},
        "Dataset/r0c0/fit/all/FrDF/gather": {"id1"},
        "Dataset/r0c0/british/2/UKDF/keep": {"id2"},
        "Dataset/r0c0/fit/all/USDF/scatter-FrDF": {"id3", "id4"},
        "Dataset/r0c0/fit/all/USDF/scatter-UKDF": {"id3"},
    }
    for kind, ways in MOVED.items():
        assert kind in FILE, kind
        assert ways
    assert all(step in FILE for step in WANTED)


def _second_rule(told: Json) -> None:
    told["datasets"][0]["rules"].append({"rse": "UKDF_DISK", "state": "OK", "ok": 1})


def _nobodys_dataset(told: Json) -> None:
    told["datasets"].append({**told["datasets"][0], "name": "Dataset/r0c0/french/1/FrDF/keep.2"})


SPOILT: dict[str, Callable[[Json], object]] = {
    "rules \\[.*UKDF_DISK": _second_rule,
    "nobody's dataset": _nobodys_dataset,
    "no such dataset": lambda told: told["datasets"].pop(),
    "6 rules for 5 movements": lambda told: told.update(rules=6),
    "made and deleted": lambda told: told.update({"former rules": 1}),
    "open True": lambda told: told["datasets"][0].update(open=True),
    "lacks": lambda told: told["datasets"][0]["files"].clear(),
    "has twice": lambda told: told["datasets"][0]["files"][0]["uuids"].append("id2"),
    "has of others": lambda told: told["datasets"][0]["files"][0].update(uuids=["id2", "id9"]),
    "is brought twice to USDF": lambda told: told["datasets"][0]["files"].append(
        told["datasets"][1]["files"][0]
    ),
    "files of no dataset": lambda told: told["files"].append("u/me/stray"),
    "Rucio does not know": lambda told: told["zips on disk"].append("zips/r0c0/x.zip"),
    "Rucio has it at": lambda told: told["datasets"][0]["files"][0].update(at=["USDF_DISK"]),
    "other bytes": lambda told: told["datasets"][0]["files"][0].update(adler32="00000001"),
}


def test_the_proof_takes_what_is_well(told: Json, roots: dict[str, Path]) -> None:
    assert problems_in_rucio(CAMPAIGN, movements(CAMPAIGN, made()), told, roots) == []


@pytest.mark.parametrize("words", SPOILT)
def test_the_proof_sees_what_is_wrong_in_rucio(
    words: str, told: Json, roots: dict[str, Path]
) -> None:
    spoilt = copy.deepcopy(told)
    SPOILT[words](spoilt)
    found = problems_in_rucio(CAMPAIGN, movements(CAMPAIGN, made()), spoilt, roots)
    assert any(re.search(words, each) for each in found), found


def butlers() -> Json:
    """What the Butlers say when all is well."""
    books: Json = {name: {"datasets": [], "found": []} for name in DISK}
    wanted = movements(CAMPAIGN, made())
    for facility, told in books.items():
        here = {e["uuid"]: content_of(e) for e in made() if e["facility"] == facility}
        for movement in wanted:
            if movement.destination == facility:
                here |= movement.contents
        told["found"] = sorted(here)
        told["datasets"] = [
            {"campaign": CAMPAIGN, "uuid": uuid, "run": "r", "content": content}
            for uuid, content in here.items()
        ]
    return books


@pytest.mark.parametrize(
    ("words", "spoil"),
    [
        ("lacks", lambda told: told["datasets"].pop()),
        ("has twice", lambda told: told["datasets"].append(told["datasets"][0])),
        (
            "has nobody's",
            lambda told: told["datasets"].append({**told["datasets"][0], "uuid": "x"}),
        ),
        ("does not find", lambda told: told["found"].pop()),
        ("cannot be read", lambda told: told["datasets"][0].update(content="cannot be read: x")),
    ],
)
def test_the_proof_sees_what_is_wrong_in_a_butler(
    words: str, spoil: Callable[[Json], object]
) -> None:
    wanted, books = movements(CAMPAIGN, made()), butlers()
    assert problems_in_butlers(CAMPAIGN, made(), wanted, books) == []
    spoil(books["USDF"])
    (found, *_) = problems_in_butlers(CAMPAIGN, made(), wanted, books)
    assert words in found


def test_the_proof_sees_what_is_wrong_in_the_nexus_log() -> None:
    wanted = movements(CAMPAIGN, made()[:1])
    types = {"id0": "product"}
    stages = ("made", "registered", "sent", "rule_ok", "arrived", "ingested")
    entry = {
        "step": "french",
        "movement": "keep",
        "source": "FrDF",
        "destination": "USDF",
        "type": "product",
        "not_for_here": 0,
        "gap_count": 0,
        **dict.fromkeys(stages, 1),
    }
    assert problems_in_nexus(CAMPAIGN, wanted, [entry], types) == []
    for stage in (*stages, "gap_count"):
        spoilt = {**entry, stage: entry[stage] + 1}
        assert problems_in_nexus(CAMPAIGN, wanted, [spoilt], types), stage
    assert problems_in_nexus(CAMPAIGN, wanted, [], types)


def test_the_points_of_the_driver_are_calls_that_it_has() -> None:
    for point, (owner, call) in RUCIO_POINTS.items():
        assert callable(getattr(CLASSES[owner], call)), point


def test_all_points_come_in_a_round_with_a_rucio_and_the_seed_decides() -> None:
    points = (*POINTS, *RUCIO_POINTS)
    planned = list(lives("s", run.KILLS_A_ROUND, RUCIO_TROUBLES, points, 15.0))
    assert {life.point for life in planned} == {*points, RANDOM}
    assert planned == list(lives("s", run.KILLS_A_ROUND, RUCIO_TROUBLES, points, 15.0))
    tally = Tally.empty()
    tally.kills.update(dict.fromkeys(points, 9))
    assert not run.missing({"rucio": tally}, 21)
    del tally.kills["after-ruled"]
    assert run.missing({"rucio": tally}, 21) == ["rucio: nothing was ever killed at after-ruled"]


def test_rounds_with_a_rucio_are_one_part_of_the_run() -> None:
    plan = run.rounds("s", 100, ("sqlite",)) + run.rounds_on_rucio("s", 2)
    first, *others = run.parts(plan)
    assert [each[1] for each in first] == ["s:rucio:0", "s:rucio:1"]
    assert [len(each) for each in others] == [1] * 4


def test_without_a_rucio_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "lacking", lambda: "nothing is installed")
    told = CliRunner().invoke(run.main, ["--round", "rucio:0"])
    assert "NO RUCIO HERE (nothing is installed)" in told.output
    assert told.exit_code == 2
