"""The agent: each operation, bad input, repetition, and what other processes do meanwhile."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_processes import Agent, Facility

OTHER_PROCESS = """
import sys
from lsst.daf.butler import Butler, CollectionType, DatasetType
butler = Butler.from_config(sys.argv[1], writeable=True)
butler.registry.registerDatasetType(
    DatasetType("note", ("instrument", "visit"), "StructuredDataDict", universe=butler.dimensions))
butler.collections.register("u/other", CollectionType.RUN)
for visit in (1001, 1002):
    butler.put({"n": visit}, "note", instrument="DemoCam", visit=visit, run="u/other")
butler.collections.redefine_chain("c/x", ["u/other"])
"""


@pytest.fixture(scope="module")
def reader(processed: Facility) -> Iterator[Agent]:
    """An agent at a facility where all steps are done; for tests that only ask."""
    running = Agent(processed, {"main": processed.repo, "lost": processed.repo / "nowhere"})
    yield running
    assert running.end() == 0


def test_the_first_line_says_what_it_can(reader: Agent) -> None:
    assert reader.ready["ready"] is True
    assert reader.ready["repos"] == ["lost", "main"]
    assert set(reader.ready["ops"]) >= {
        "ping",
        "query_data_ids",
        "count_datasets",
        "chain",
        "verify",
    }
    assert reader.ready["versions"]["lsst-daf-butler"][0].isdigit()
    assert reader.result("ping")["pid"] == reader.ready["pid"]


def test_data_ids(reader: Agent) -> None:
    found = reader.result(
        "query_data_ids",
        repo="main",
        dimensions=["visit"],
        where="instrument='DemoCam' AND visit > 1001",
        datasets=["raw"],
        collections=["DemoCam/defaults"],
    )
    assert found == {
        "dimensions": ["instrument", "visit"],
        "rows": [["DemoCam", 1002], ["DemoCam", 1003], ["DemoCam", 1004]],
        "complete": True,
    }


def test_data_ids_join_in_space(reader: Agent, processed: Facility) -> None:
    found = reader.result(
        "query_data_ids",
        repo="main",
        dimensions=["visit"],
        where="instrument='DemoCam' AND skymap='demo_sky' AND tract=2",
    )
    # Two detectors of 160 pixels side by side: a tract and a visit are 320 pixels wide.
    origins = {
        int(v): t["origin"][0] for v, t in json.loads(processed.truth.read_text())["visits"].items()
    }
    expected = [visit for visit, x in sorted(origins.items()) if 0 < x < 640]
    assert [row[1] for row in found["rows"]] == expected
    assert 0 < len(expected) < len(origins)


def test_data_ids_with_a_limit_say_that_there_are_more(reader: Agent) -> None:
    where = "instrument='DemoCam'"
    found = reader.result("query_data_ids", repo="main", dimensions=["visit"], where=where, limit=3)
    assert len(found["rows"]) == 3
    assert found["complete"] is False


@pytest.mark.parametrize("where", ["instrument='DemoCam' AND visit=9", "instrument='Nobody'"])
def test_no_data_ids_is_no_error(reader: Agent, where: str) -> None:
    found = reader.result("query_data_ids", repo="main", dimensions=["visit"], where=where)
    assert found["rows"] == []


@pytest.mark.parametrize(
    ("operation", "arguments", "error_class", "words"),
    [
        (
            "query_data_ids",
            {"dimensions": ["visit"], "where": "instrument='DemoCam' AND visitt=1"},
            "Permanent",
            "visitt",
        ),
        ("query_data_ids", {"dimensions": ["visit"], "where": "visit ="}, "Permanent", "parse"),
        (
            "query_data_ids",
            {"dimensions": ["visit"], "where": "visit = 1"},
            "Permanent",
            "instrument",
        ),
        ("query_data_ids", {"dimensions": ["vist"]}, "Permanent", "'vist'"),
        ("query_data_ids", {"dimensions": "visit"}, "Permanent", "list of strings"),
        ("query_data_ids", {}, "Permanent", "dimensions is missing"),
        (
            "query_data_ids",
            {"dimensions": ["visit"], "wher": "x"},
            "Permanent",
            "unknown arguments wher",
        ),
        ("query_data_ids", {"dimensions": ["visit"], "limit": -1}, "Permanent", "limit"),
        (
            "query_data_ids",
            {"dimensions": ["visit"], "datasets": ["raw"]},
            "Permanent",
            "collections",
        ),
        (
            "query_data_ids",
            {"dimensions": ["visit"], "datasets": ["never"], "collections": ["u/all"]},
            "NotYet",
            "never",
        ),
        (
            "count_datasets",
            {"collections": ["u/nowhere"], "types": ["raw"]},
            "Permanent",
            "u/nowhere",
        ),
        ("list_datasets", {"collections": ["u/nowhere"]}, "Permanent", "u/nowhere"),
        ("chain", {"chains": [{"name": "c", "children": ["u/nowhere"]}]}, "NotYet", "u/nowhere"),
        ("chain", {"chains": [{"name": "u/steps", "children": []}]}, "Permanent", "RUN"),
        ("chain", {"chains": [{"name": "c", "children": [], "mode": "mix"}]}, "Permanent", "mode"),
        ("chain", {"chains": [{"name": "u/all", "children": ["u/all"]}]}, "Permanent", "ycle"),
        ("verify", {"uuids": ["not-a-uuid"]}, "Permanent", "UUID"),
        ("fly", {}, "Permanent", "query_data_ids"),
    ],
)
def test_what_cannot_work_says_why(
    reader: Agent, operation: str, arguments: dict[str, object], error_class: str, words: str
) -> None:
    error = reader.error(operation, repo="main", **arguments)
    assert error["class"] == error_class
    assert words in error["message"]


def test_a_repository_that_is_not_there(reader: Agent) -> None:
    assert "known: lost, main" in reader.error("collections", repo="dp2")["message"]
    error = reader.error("collections", repo="lost")
    assert error["class"] == "Permanent"
    assert "nowhere" in error["message"]


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON",
        b"\xff\xfe\x00 random bytes \x80",
        b"[1, 2]",
        b'{"op": "ping"}',
        b'{"id": {}, "op": "ping"}',
        b"[" * 100_000,
        b'{"id": 1, "op": ["ping"]}',
        b'{"id": 1, "op": "ping", "args": 5}',
    ],
    ids=["text", "bytes", "list", "no id", "wrong id", "deep", "wrong op", "wrong args"],
)
def test_a_bad_line_is_answered_and_survived(reader: Agent, line: bytes) -> None:
    reader.send(line)
    answer = reader.next_answer()
    assert answer["ok"] is False
    assert answer["error"]["class"] == "Permanent"
    assert reader.result("ping")


def test_a_line_beyond_all_bounds_is_answered_and_survived(reader: Agent) -> None:
    reader.send(b'{"id": 1, "op": "' + b"x" * (65 * 1024 * 1024) + b'"}')
    assert "longer than" in reader.next_answer()["error"]["message"]
    assert reader.result("ping")


def test_counts(reader: Agent) -> None:
    found = reader.result(
        "count_datasets",
        repo="main",
        collections=["u/all"],
        types=["calibrated_stars", "coadd_image", "zero_point", "never"],
        bytes=True,
    )
    counts = {name: entry["count"] for name, entry in found["types"].items()}
    assert counts == {"calibrated_stars": 8, "coadd_image": 8, "zero_point": 4, "never": 0}
    assert found["total"] == 20
    # 8 patches of 160 x 80 pixels of 4 bytes.
    assert found["types"]["coadd_image"]["bytes"] > 8 * 160 * 80 * 4
    everything = reader.result("count_datasets", repo="main", collections=["u/steps"], types=None)
    assert set(everything["types"]) >= {
        "coadd_image",
        "coadd_n_image",
        "coadd_summary",
        "stackImages_log",
    }


def test_counts_with_where(reader: Agent) -> None:
    where = "instrument='DemoCam' AND skymap='demo_sky' AND tract=2 AND patch IN (0, 1)"
    found = reader.result(
        "count_datasets", repo="main", collections=["u/all"], types=["coadd_image"], where=where
    )
    assert found["total"] == 2


def test_lists_in_pages(reader: Agent) -> None:
    offset: int | None = 0
    seen = []
    while offset is not None:
        page = reader.result(
            "list_datasets",
            repo="main",
            collections=["u/all"],
            types=["raw", "zero_point"],
            limit=5,
            offset=offset,
        )
        assert page["total"] == 12
        seen += page["datasets"]
        offset = page["next_offset"]
    assert [entry["type"] for entry in seen] == ["raw"] * 8 + ["zero_point"] * 4
    assert seen[0]["data_id"] == {"instrument": "DemoCam", "detector": 0, "exposure": 1001}
    assert seen[0]["run"] == "DemoCam/raw"
    assert len({entry["uuid"] for entry in seen}) == 12


def test_chains_keep_their_order_and_may_be_repeated(agent: Agent) -> None:
    define = {"name": "c/x", "children": ["DemoCam/calib", "skymaps"]}
    for changed in (True, False):
        found = agent.result("chain", repo="main", chains=[define])["chains"]["c/x"]
        assert found == {
            "children": ["DemoCam/calib", "skymaps"],
            "changed": changed,
            "skipped": [],
        }
    prepend = {"name": "c/x", "children": ["DemoCam/raw", "skymaps"], "mode": "prepend"}
    for changed in (True, False):
        found = agent.result("chain", repo="main", chains=[prepend])["chains"]["c/x"]
        assert found["children"] == ["DemoCam/raw", "DemoCam/calib", "skymaps"]
        assert found["changed"] is changed
    redefine = {"name": "c/x", "children": ["skymaps", "u/missing"], "missing": "skip"}
    found = agent.result("chain", repo="main", chains=[redefine])["chains"]["c/x"]
    assert found == {"children": ["skymaps"], "changed": True, "skipped": ["u/missing"]}


def test_a_chain_of_chains_in_one_request(agent: Agent) -> None:
    chains = [
        {"name": "c/all", "children": ["c/a", "skymaps"]},
        {"name": "c/a", "children": ["DemoCam/raw"]},
    ]
    agent.result("chain", repo="main", chains=chains)
    found = agent.result("collections", repo="main", names=["c/*", "nothing", "skymaps"])[
        "collections"
    ]
    assert found == [
        {"name": "c/a", "type": "CHAINED", "children": ["DemoCam/raw"]},
        {"name": "c/all", "type": "CHAINED", "children": ["c/a", "skymaps"]},
        {"name": "skymaps", "type": "RUN", "children": []},
    ]


def test_no_chain_is_changed_if_one_cannot_be(agent: Agent) -> None:
    chains = [{"name": "c/a", "children": ["skymaps"]}, {"name": "c/b", "children": ["u/missing"]}]
    assert "u/missing" in agent.error("chain", repo="main", chains=chains)["message"]
    assert agent.result("collections", repo="main", names=["c/*"])["collections"] == []


def test_verify_tells_what_is_missing_where(agent: Agent, facility: Facility) -> None:
    listed = agent.result("list_datasets", repo="main", collections=["DemoCam/raw"])["datasets"]
    uuids = [entry["uuid"] for entry in listed]
    assert agent.result("verify", repo="main", uuids=uuids) == {
        "checked": 8,
        "missing_in_registry": [],
        "missing_in_datastore": [],
    }
    file = Path(
        facility.python_code(
            "import sys; from lsst.daf.butler import Butler; b = Butler.from_config(sys.argv[1]);"
            "print(b.getURI(b.get_dataset(sys.argv[2])).ospath)",
            str(facility.repo),
            uuids[3],
        ).strip()
    )
    file.unlink()
    stranger = "00000000-0000-4000-8000-000000000000"
    assert agent.result("verify", repo="main", uuids=[*uuids, stranger]) == {
        "checked": 9,
        "missing_in_registry": [stranger],
        "missing_in_datastore": [uuids[3]],
    }


def test_what_another_process_registers_is_seen(agent: Agent, facility: Facility) -> None:
    assert agent.result("collections", repo="main", names=["u/*"])["collections"] == []
    agent.result("chain", repo="main", chains=[{"name": "c/x", "children": ["skymaps"]}])
    before = agent.result("count_datasets", repo="main", collections=["c/x"])
    assert before["types"]["sky_map"]["count"] == 1
    assert (
        agent.error("count_datasets", repo="main", collections=["u/other"])["class"] == "Permanent"
    )
    facility.python_code(OTHER_PROCESS, str(facility.repo))
    found = agent.result("count_datasets", repo="main", collections=["u/other"])
    assert found["types"]["note"]["count"] == 2
    assert agent.result("count_datasets", repo="main", collections=["c/x"]) == found
    rows = agent.result(
        "query_data_ids",
        repo="main",
        dimensions=["visit"],
        where="instrument='DemoCam'",
        datasets=["note"],
        collections=["u/other"],
    )["rows"]
    assert rows == [["DemoCam", 1001], ["DemoCam", 1002]]


def test_prints_of_the_stack_do_not_reach_the_protocol(facility: Facility) -> None:
    # A library of the facility that prints at import and on each call, in Python and below it.
    noisy = facility.work / "noisy"
    noisy.mkdir(parents=True)
    (noisy / "sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "sys.addaudithook(lambda e, a: os.write(1, b'noise\\n') if e == 'sqlite3.connect' else None)\n"
    )

    class Noisy(Facility):
        def environment(self) -> dict[str, str]:
            return {**super().environment(), "PYTHONPATH": str(noisy)}

    agent = Agent(
        Noisy(facility.python, facility.repo, facility.truth, facility.work),
        {"main": facility.repo},
    )
    assert agent.result("collections", repo="main")["collections"]
    assert agent.end() == 0


def test_a_wrong_command_line(sky: Facility) -> None:
    done = sky.run(
        Path(__file__).parents[2] / "plugins/cmd_local/stack/butler_agent.py", "--repo", "nolabel"
    )
    assert done.returncode == 2
    assert "LABEL=PATH" in done.stderr
    assert json.dumps(done.stdout) == '""'
