"""The process runner: real graphs, real runs, real reports; failures, rescue and kills."""

import importlib.util
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from stack_processes import DEADLINE, STACK_PROGRAMS, Facility

FAULTS = "calibrateImage:faults."


def test_success_and_the_same_order_again(facility: Facility) -> None:
    order = facility.order("one")
    assert order.do() == 0, order.log()
    outcome = order.outcome()
    assert outcome["ok"] is True
    assert outcome["error_class"] is None
    assert outcome["message"] == "All 8 quanta succeeded."
    assert outcome["quanta"] == {
        "calibrateImage": {
            "expected": 8,
            "successful": 8,
            "failed": 0,
            "blocked": 0,
            "unknown": 0,
            "wonky": 0,
        }
    }
    assert outcome["datasets"]["calibrated_stars"] == {"expected": 8, "visible": 8}
    assert outcome["graph"]["n_quanta"] == 8
    assert set(outcome["seconds"]) >= {"graph", "run", "report", "total"}
    assert order.do() == 0
    assert order.outcome() == outcome
    assert order.log().count("pipetask run") == 1


def test_another_order_in_the_same_directory_is_refused(facility: Facility) -> None:
    order = facility.order("one", pipeline="/nowhere.yaml#x")
    assert order.do() == 2
    other = facility.order("two", work_dir=str(order.work_dir))
    assert other.do() == 3
    assert "belongs to another order" in other.log()


def test_failed_quanta_then_rescue_then_nothing_left(facility: Facility) -> None:
    # These three quanta fail the first time they are tried.
    once = {
        f"{FAULTS}failDataIds": "1002:1;1003:*",
        f"{FAULTS}failOnceDir": str(facility.work / "once"),
    }
    first = facility.order("first", config=once)
    assert first.do() == 1
    outcome = first.outcome()
    assert outcome["ok"] is False
    assert outcome["error_class"] is None
    counts = outcome["quanta"]["calibrateImage"]
    assert (counts["expected"], counts["successful"], counts["failed"]) == (8, 5, 3)
    assert outcome["datasets"]["calibrated_stars"] == {"expected": 8, "visible": 5}
    assert "5 of 8 quanta succeeded (3 failed)" in outcome["message"]
    assert len(outcome["failures"]) == 3
    failure = next(f for f in outcome["failures"] if f["data_id"]["visit"] == 1002)
    assert failure["task"] == "calibrateImage"
    assert failure["data_id"] == {"instrument": "DemoCam", "detector": 1, "visit": 1002}
    assert failure["message"].startswith("DemoFault: Too few stars for photometry: found 3")

    # The rescue runs only what is missing, and counts the whole group. One other quantum fails for
    # good.
    graphs = [str(first.work_dir / "graph.qg")]
    runs = ["u/first"]
    rescue = facility.order(
        "rescue",
        skip_existing_in=[*runs, "u/never-begun"],
        previous_graphs=graphs,
        config={f"{FAULTS}failDataIds": "1002:1"},
    )
    assert rescue.do() == 1
    outcome = rescue.outcome()
    assert outcome["graph"]["n_quanta"] == 3
    counts = outcome["quanta"]["calibrateImage"]
    assert (counts["expected"], counts["successful"], counts["failed"]) == (8, 7, 1)

    # The next attempt needs the last one only; the one after that finds nothing to do.
    graphs.append(str(rescue.work_dir / "graph.qg"))
    runs.insert(0, "u/rescue")
    third = facility.order("third", skip_existing_in=runs, previous_graphs=graphs, config=once)
    assert third.do() == 0, third.log()
    assert third.outcome()["message"] == "All 8 quanta succeeded, 1 of them in this attempt."
    graphs.append(str(third.work_dir / "graph.qg"))
    fourth = facility.order("fourth", skip_existing_in=["u/third", *runs], previous_graphs=graphs)
    assert fourth.do() == 0, fourth.log()
    outcome = fourth.outcome()
    assert outcome["message"] == "Nothing is missing: all 8 quanta succeeded in earlier attempts."
    assert outcome["quanta"]["calibrateImage"]["successful"] == 8
    assert outcome["graph"]["n_quanta"] == 0


IMPOSSIBLE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "empty": (
        {"where": "instrument='DemoCam' AND visit=7"},
        ["is empty", "visit=7", "DemoCam/defaults"],
    ),
    "where": ({"where": "instrument='DemoCam' AND visitt=7"}, ["cannot be built", "visitt"]),
    "file": (
        {"pipeline": "/nowhere/demo.yaml#calibrate"},
        ["does not exist", "/nowhere/demo.yaml"],
    ),
    "variable": (
        {"pipeline": "$NO_SUCH_DIR/demo.yaml#calibrate"},
        ["environment variable", "NO_SUCH_DIR"],
    ),
    "subset": (
        {"pipeline": "$DEMO_PIPE_DIR/demo.yaml#calibarte"},
        ["cannot be built", "calibarte"],
    ),
    "inputs": ({"inputs": ["DemoCam/defaults", "u/nothing"]}, ["Input collections", "u/nothing"]),
    "config": ({"config": {"calibrateImage:treshold": 3}}, ["cannot be built", "treshold"]),
    "repo": ({"butler": "/nowhere/repo"}, ["no Butler repository", "/nowhere/repo"]),
    "run": ({"output_run": "DemoCam/raw"}, ["exists already", "DemoCam/raw"]),
}


def test_inputs_of_other_facilities_are_left_out(facility: Facility) -> None:
    """What the campaign made elsewhere has no collection here; that of its own file must exist."""
    inputs = ["u/made-elsewhere", "DemoCam/defaults"]
    order = facility.order("part", inputs=inputs, inputs_if_there=["u/made-elsewhere"])
    assert order.do() == 0, order.log()
    assert order.outcome()["quanta"]["calibrateImage"]["successful"] == 8


def test_what_cannot_be_done_says_why(sky: Facility, tmp_path: Path) -> None:
    facility = Facility(sky.python, sky.repo, sky.truth, tmp_path)
    orders = {name: facility.order(name, **changes) for name, (changes, _) in IMPOSSIBLE.items()}
    processes = {name: order.start() for name, order in orders.items()}
    for name, process in processes.items():
        assert process.wait(DEADLINE) == 2, name
        outcome = orders[name].outcome()
        assert outcome["ok"] is False, name
        assert outcome["error_class"] == "Permanent", name
        message = outcome["message"]
        assert all(word in message for word in IMPOSSIBLE[name][1]), f"{name}: {message}"


def test_killed_in_the_middle_then_the_same_order(facility: Facility) -> None:
    order = facility.order("killed", config={f"{FAULTS}sleepSeconds": 0.25})
    process = order.start()
    progress = order.wait_for_progress("run", done=2)
    assert progress["expected"] == {"calibrateImage": 8}
    # While one process works, a second one keeps its hands off.
    second = facility.run(STACK_PROGRAMS / "process_runner.py", order.path)
    assert second.returncode == 3
    assert "another process" in second.stderr
    process.send_signal(signal.SIGKILL)
    process.wait(DEADLINE)
    assert not (order.work_dir / "outcome.json").exists()

    assert order.do() == 0, order.log()
    counts = order.outcome()["quanta"]["calibrateImage"]
    assert (counts["expected"], counts["successful"]) == (8, 8)
    assert order.log().count("pipetask qgraph") == 1
    assert "Skipping already-successful quantum" in order.log()


def test_two_groups_at_once_in_one_repository(facility: Facility) -> None:
    # Both register the same new dataset types and write to the same database.
    orders = [
        facility.order(f"part{n}", where=f"instrument='DemoCam' AND visit IN ({visits})")
        for n, visits in enumerate(("1001, 1002", "1003, 1004"))
    ]
    processes = [order.start() for order in orders]
    assert [process.wait(DEADLINE) for process in processes] == [0, 0], (
        orders[0].log() + orders[1].log()
    )
    assert [order.outcome()["quanta"]["calibrateImage"]["successful"] for order in orders] == [4, 4]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not JSON", "cannot read"),
        ("[]", "not an object"),
        ('{"key": "k", "wehre": "x"}', "wehre is not a field"),
        ('{"key": "k"}', "butler is missing"),
        (
            '{"key": "k", "butler": "b", "pipeline": 5, "output_run": "r", "work_dir": "w"}',
            "pipeline must be",
        ),
    ],
)
def test_a_wrong_order(sky: Facility, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "order.json"
    path.write_text(content)
    done = sky.run(STACK_PROGRAMS / "process_runner.py", path)
    assert done.returncode == 3
    assert words in done.stderr


def runner_module() -> Any:
    """Import the runner into this process; it needs the stack only when it works."""
    spec = importlib.util.spec_from_file_location(
        "process_runner", STACK_PROGRAMS / "process_runner.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("counted", [0, 7, 9])
def test_counts_that_differ_from_the_graph_are_no_success(tmp_path: Path, counted: int) -> None:
    runner = runner_module()
    order = runner.Order("k", "b", "p", "r", tmp_path)
    job = runner.Job(order, runner.Progress(order))
    job.outcome.graph = {"n_quanta": 8, "n_task_quanta": {"calibrateImage": 8}}
    zero = dict.fromkeys(runner.QUANTA_STATES, 0)
    job.outcome.quanta = {"calibrateImage": {**zero, "expected": counted, "successful": counted}}
    with pytest.raises(runner.JobError, match=rf"{counted} counted, 8 in the graph"):
        job._judge(8, None)
    assert job.outcome.ok is False
