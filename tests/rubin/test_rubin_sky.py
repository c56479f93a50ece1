"""The demo sky and its truth check."""

import json
import shutil
from pathlib import Path

import pytest
from stack_processes import SKY, Facility, copy_facility


def make_sky(facility: Facility, repo: Path, *more: str) -> tuple[int, str]:
    done = facility.run(SKY / "make_sky.py", "--repo", repo, "--small", *more)
    return done.returncode, done.stdout + done.stderr


def test_a_finished_sky_is_left_alone(facility: Facility, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in facility.repo.rglob("*") if path.is_file()}
    status, text = make_sky(facility, facility.repo)
    assert status == 0
    assert "was there already" in text
    assert before == {path: path.stat().st_mtime_ns for path in before}
    # The truth is a function of the size: it comes back if it was lost.
    assert json.loads((tmp_path / "truth.json").read_text()) == json.loads(
        facility.truth.read_text()
    )


DATASETS = """
import hashlib, json, sys
from lsst.daf.butler import Butler
found = {}
for repo in sys.argv[1:]:
    butler = Butler.from_config(repo)
    raws = butler.query_datasets("raw", "DemoCam/raw", limit=None)
    found[repo] = {
        "visits": sorted(r.id for r in butler.query_dimension_records("visit", limit=None)),
        "tracts": len(butler.query_dimension_records("tract", limit=None)),
        "raws": {
            str(r.id): hashlib.sha256(butler.getURI(r).read()).hexdigest() for r in raws
        },
    }
print(json.dumps(found))
"""


def test_a_facility_may_hold_a_part_of_the_sky(facility: Facility, tmp_path: Path) -> None:
    """All tracts, the visits that touch its own, with the same UUIDs and bytes as elsewhere."""
    status, text = make_sky(facility, tmp_path / "part", "--raws-of-tracts", "2")
    assert status == 0, text
    status, text = make_sky(facility, tmp_path / "part")
    assert status == 1
    assert "another size" in text
    told = json.loads(facility.python_code(DATASETS, str(facility.repo), str(tmp_path / "part")))
    whole, part = told[str(facility.repo)], told[str(tmp_path / "part")]
    assert part["tracts"] == whole["tracts"] == 2
    # Pointings step by half a tract; dithers decide whether the first one touches the second tract.
    assert 1003 in part["visits"]
    assert set(part["visits"]) < set(whole["visits"])
    assert len(part["raws"]) == 2 * len(part["visits"])
    assert part["raws"].items() < whole["raws"].items()
    status, text = make_sky(facility, tmp_path / "none", "--raws-of-tracts", "9")
    assert status == 1
    assert "no tract 9" in text


def test_an_interrupted_sky_is_made_anew(sky: Facility, tmp_path: Path) -> None:
    # What a kill leaves: the repository under its other name, with parts missing.
    left = tmp_path / "making-repo"
    shutil.copytree(sky.repo, left)
    (left / "sky.json").unlink()
    (left / "gen3.sqlite3").unlink()
    status, text = make_sky(sky, tmp_path / "repo")
    assert status == 0, text
    assert not left.exists()
    assert len(list((tmp_path / "repo" / "DemoCam" / "raw").rglob("*.pickle"))) == 8


def test_a_place_with_something_else_is_refused(sky: Facility, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("do not delete")
    status, text = make_sky(sky, tmp_path / "mine")
    assert status == 1
    assert "is not a demo sky" in text
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "do not delete"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "7"], "another size"),
        (["--tracts", "6", "--visits", "3"], "at least 11 visits"),
        (["--detectors", "0"], "at least 1"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    facility: Facility, arguments: list[str], words: str
) -> None:
    status, text = make_sky(facility, facility.repo, *arguments)
    assert status == 1
    assert words in text


def check(facility: Facility, *more: str | Path) -> tuple[int, str]:
    done = facility.run(
        SKY / "check_truth.py",
        "--repo",
        facility.repo,
        "--collection",
        "u/all",
        "--truth",
        facility.truth,
        *more,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_result_agrees_with_the_truth(processed: Facility) -> None:
    status, text = check(processed, "--json")
    assert status == 0, text
    result = json.loads(text.splitlines()[0])
    zero_points, coadds, noise = result["checks"]
    assert zero_points["visits"] == zero_points["expected"] == 4
    assert zero_points["rms_mmag"] < 5
    assert coadds["found"] == coadds["expected"] == 8
    assert [row["n"] for row in noise["by_depth"]] == [1, 2, 3]
    assert all(abs(row["ratio"] - 1) < 0.03 for row in noise["by_depth"])


WRONG = """
import sys
from lsst.daf.butler import Butler
butler = Butler.from_config(sys.argv[1], writeable=True)

def replace(ref, change):
    value = butler.get(ref)
    butler.pruneDatasets([ref], purge=True, unstore=True, disassociate=True)
    if change is not None:
        butler.put(change(value), ref)

replace(butler.find_dataset("zero_point", instrument="DemoCam", visit=1002, collections="u/all"),
        lambda value: {**value, "zero_point": value["zero_point"] + 0.03})
for ref in butler.query_datasets("coadd_image", collections="u/all"):
    replace(ref, None if ref.dataId["tract"] == 2 and ref.dataId["patch"] == 3 else lambda value: value * 1.1)
"""


def test_wrong_results_are_found(processed: Facility, tmp_path: Path) -> None:
    facility = copy_facility(processed, tmp_path)
    facility.python_code(WRONG, str(facility.repo))
    status, text = check(facility)
    assert status == 1, text
    assert [
        line[:18].split(maxsplit=1)[1].strip()
        for line in text.splitlines()
        if line.startswith("BAD")
    ] == [
        "zero points",
        "coadds",
        "coadd noise",
    ]
    assert "visit 1002" in text
    assert "missing [(2, 3)]" in text
    assert "does NOT agree" in text


def test_a_result_that_is_not_there_is_another_status(sky: Facility) -> None:
    status, text = check(sky)
    assert status == 2
    assert "u/all" in text
