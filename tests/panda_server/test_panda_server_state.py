"""A server on the state that another one left at the worst moment."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from panda_server import Pace, PandaServer
from panda_server.idds import requests, workflow
from panda_server.model import commands, submission
from recorded import BPS_ARGS
from recorded_world import life

DEADLINE_S = 60.0
USER = "Test User"


def submit(server: PandaServer, **more: Any) -> int:
    """A task of two inputs."""
    told = life("all-failed") | {"pfnList": ["in_0", "in_1"], "nFiles": 2} | more
    code, text, number = submission.submit(server.world, told, USER, True)
    assert code == 0, text
    return int(number or 0)


def successor(server: PandaServer, home: Path) -> PandaServer:
    """A server on the same state, which the other one does not touch any more."""
    assert server._store is not None
    server._store.close()
    return PandaServer(state=home, start=server.world.now(), pace=server.world.pace)


def test_what_was_due_is_due_after_a_restart(tmp_path: Path) -> None:
    first = PandaServer(state=tmp_path)
    number = submit(first)
    first.advance(0)
    second = successor(first, tmp_path)
    second.advance(5)
    assert second.world.tasks[number].status == "running"
    commands.register(second.world, number, "pause", f"pause by {USER}", True)
    second.advance(1)
    third = successor(second, tmp_path)
    third.advance(60)
    assert third.world.tasks[number].status == "paused"


def test_numbers_are_not_given_away_again(tmp_path: Path) -> None:
    first = PandaServer(state=tmp_path)
    number = submit(first)
    first.advance(100)
    second = successor(first, tmp_path)
    assert submit(second) == number + 1
    second.advance(100)
    assert sorted(second.world.jobs) == [1, 2, 3, 4]


def test_a_workflow_goes_on_after_restarts(tmp_path: Path) -> None:
    server = PandaServer(state=tmp_path)
    server.world.queues["SLAC_Rubin"].site = "usdf"
    server.world.idds_agents = True
    request = requests.submit(server.world, workflow.parse(BPS_ARGS), USER)
    for _ in range(60):
        server.advance(7)
        server = successor(server, tmp_path)
        server.world.idds_agents = True
    assert server.world.requests[request].status == "Finished"
    assert Counter(job.status for job in server.world.jobs.values()) == {"finished": 6}


@pytest.mark.parametrize("written", [True, False])
def test_a_job_that_began_before_that_was_written_down_is_not_begun_again(
    tmp_path: Path, written: bool
) -> None:
    first = PandaServer(state=tmp_path, pace=Pace().scaled(0.01))
    first.run_locally()
    number = submit(first, jobParameters=[{"type": "constant", "value": "echo ${IN/L}"}])
    first.advance(1)
    assert {job.status for job in first.world.jobs.values()} == {"activated"}
    first.world.pilot.look(first.world)
    assert {job.status for job in first.world.jobs.values()} == {"running"}
    if written:
        first.advance(0)
    second = successor(first, tmp_path)
    second.run_locally()
    deadline = time.monotonic() + DEADLINE_S
    while second.world.tasks[number].status != "done":
        assert time.monotonic() < deadline, second.world.tasks[number].status
        second.world.pilot.look(second.world)
        second.advance(0.1)
    done = Counter(entry["input"] for entry in second.ledger())
    assert done == {"in_0": 1, "in_1": 1}
