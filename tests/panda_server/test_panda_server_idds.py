"""iDDS with its agents at work: the recorded workflow to its ends, and commands on the way."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from asking import Asking
from panda_server import PandaServer
from recorded import BPS_ARGS


@pytest.fixture
def server() -> Iterator[PandaServer]:
    """A server whose agents work, with the queue that the recorded workflow names."""
    with PandaServer() as running:
        running.world.idds_agents = True
        running.world.queues["SLAC_Rubin"].site = "usdf"
        yield running


@pytest.fixture
def ask(server: PandaServer) -> Asking:
    """Test User."""
    return Asking(server.url, server.user_token(), production=False)


def counts(row: dict[str, Any]) -> dict[str, int]:
    """The counters on the output side that are not zero."""
    names = ("total", "new", "processing", "processed", "failed", "missing")
    found = {name: row[f"output_{name}_files"] for name in names}
    return {name: value for name, value in found.items() if value}


def states(ask: Asking, request: int) -> dict[str, str]:
    """Label of a transform -> its state."""
    rows = ask.transforms(request).items()
    return {label: row["transform_status"]["attributes"]["_name_"] for label, row in rows}


def until(server: PandaServer, ask: Asking, request: int, *wanted: str) -> str:
    """Let time go by until the request is in one of the states."""
    for _ in range(400):
        if ask.request_status(request) in wanted:
            return ask.request_status(request)
        server.advance(5)
    raise AssertionError(f"request is {ask.request_status(request)}, not {wanted}")


def test_a_workflow_runs_to_its_end(server: PandaServer, ask: Asking) -> None:
    request = ask.relay("submit", BPS_ARGS)
    server.advance(8)
    assert ask.request_status(request) == "Transforming"
    rows = ask.transforms(request)
    assert set(rows) == {"pipetaskInit", "cal"}
    assert counts(rows["cal"]) == {"total": 4, "new": 4}
    assert rows["cal"]["input_new_files"] == 4
    task = rows["cal"]["transform_workload_id"]
    names = ask.get("task/get_task_parameters", task_id=task)["data"]["pfnList"]
    assert len(names) == 4
    until(server, ask, request, "Finished")
    rows = ask.transforms(request)
    assert {label: counts(row) for label, row in rows.items()} == {
        "pipetaskInit": {"total": 1, "processed": 1},
        "cal": {"total": 4, "processed": 4},
        "finalJob": {"total": 1, "processed": 1},
    }
    record = ask.get("task/get_detailed_info", task_id=task)["data"]
    assert (record["status"], record["nFilesFinished"], record["reqID"]) == ("done", 4, request)
    assert record["taskName"] == f"{rows['cal']['transform_name']}_{request}_2"


def test_what_failed_is_partial_and_a_retry_makes_it_whole(
    server: PandaServer, ask: Asking
) -> None:
    rule = server.pilot.fail("*_cal_1006_0*")
    request = ask.relay("submit", BPS_ARGS)
    assert until(server, ask, request, "Finished", "SubFinished", "Failed") == "SubFinished"
    assert counts(ask.transforms(request)["cal"]) == {"total": 4, "processed": 3, "failed": 1}
    assert states(ask, request)["finalJob"] == "Finished"
    task = ask.transforms(request)["cal"]["transform_workload_id"]
    (told,) = ask.relay("get_contents_output_ext", request_id=request, workload_id=task).values()
    assert sorted(str(one["trans_exit_code"]) for one in told) == ["0", "0", "0", "1"]
    before = ask.get("task/get_job_ids", task_id=task)["data"]
    server.pilot.forget(rule, server.world)

    ask.relay("retry", request_id=request)
    server.advance(10)
    assert ask.request_status(request) == "Transforming"
    until(server, ask, request, "Finished")
    after = ask.get("task/get_job_ids", task_id=task)["data"]
    assert len(set(after) - set(before)) == 1
    assert ask.status(task) == "done"


def test_what_comes_after_a_failure_is_missing(server: PandaServer, ask: Asking) -> None:
    rule = server.pilot.fail("pipetaskInit*")
    request = ask.relay("submit", BPS_ARGS)
    assert until(server, ask, request, "Finished", "SubFinished", "Failed") == "SubFinished"
    assert states(ask, request) == {
        "pipetaskInit": "Failed",
        "cal": "Failed",
        "finalJob": "Finished",
    }
    row = ask.transforms(request)["cal"]
    assert counts(row) == {"total": 4, "missing": 4}
    record = ask.get("task/get_detailed_info", task_id=row["transform_workload_id"])["data"]
    assert (record["nFilesMissing"], record["status"]) == (4, "failed")

    server.pilot.forget(rule, server.world)
    ask.relay("retry", request_id=request)
    until(server, ask, request, "Finished")
    assert counts(ask.transforms(request)["cal"]) == {"total": 4, "processed": 4}


@pytest.mark.parametrize("wait", [0, 1, 4, 30, 50])
def test_an_abort_ends_every_task_whenever_it_comes(
    server: PandaServer, ask: Asking, wait: int
) -> None:
    request = ask.relay("submit", BPS_ARGS)
    server.advance(wait)
    assert ask.relay("abort", request_id=request)[0][0] == 0
    until(server, ask, request, "Cancelled")
    server.advance(2000)
    assert ask.request_status(request) == "Cancelled"
    assert {task.status for task in server.world.tasks.values()} <= {"aborted", "done"}
    assert not server.world.active


def test_an_abort_reaches_tasks_that_were_not_to_be_seen(server: PandaServer, ask: Asking) -> None:
    server.world.pace.refine = 12
    request = ask.relay("submit", BPS_ARGS)
    server.advance(13)
    ask.relay("abort", request_id=request)
    server.advance(5)
    assert {task.visible for task in server.world.tasks.values()} == {False}
    until(server, ask, request, "Cancelled")
    assert {task.status for task in server.world.tasks.values()} == {"aborted"}


def test_a_suspended_request_rests_until_it_is_resumed(server: PandaServer, ask: Asking) -> None:
    request = ask.relay("submit", BPS_ARGS)
    server.advance(5)
    ask.relay("suspend", request_id=request)
    until(server, ask, request, "Suspended")
    server.advance(1000)
    assert ask.request_status(request) == "Suspended"
    assert "finalJob" not in states(ask, request)
    ask.relay("resume", request_id=request)
    until(server, ask, request, "Finished")


def test_the_site_of_a_work_must_be_the_queues(server: PandaServer, ask: Asking) -> None:
    server.world.queues["SLAC_Rubin"].site = "SLAC"
    request = ask.relay("submit", BPS_ARGS)
    server.advance(60)
    task = ask.transforms(request)["pipetaskInit"]["transform_workload_id"]
    record = ask.get("task/get_detailed_info", task_id=task)["data"]
    assert record["status"] == "pending"
    assert "wrong PandaSite=SLAC <> usdf" in record["errorDialog"]


def test_without_agents_a_request_stays_new(server: PandaServer, ask: Asking) -> None:
    server.world.idds_agents = False
    request = ask.relay("submit", BPS_ARGS)
    server.advance(10_000)
    assert ask.request_status(request) == "New"
    assert json.dumps(ask.transforms(request)) == "{}"
