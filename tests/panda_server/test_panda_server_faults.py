"""What goes wrong on command really goes wrong, and only so often as it was asked for."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from asking import Asking
from panda_server import PandaServer
from recorded import BPS_ARGS
from recorded_world import life

TOLD = life("partial-finished")


@pytest.fixture
def server() -> Iterator[PandaServer]:
    """A new server."""
    with PandaServer() as running:
        yield running


@pytest.fixture
def ask(server: PandaServer) -> Asking:
    """Test User with the role."""
    return Asking(server.url, server.production_token())


def test_a_lost_answer_leaves_the_task(server: PandaServer, ask: Asking) -> None:
    fault = server.faults.lose_answers("*/task/submit")
    with pytest.raises(httpx.RemoteProtocolError):
        ask.submit(TOLD)
    assert fault.hits == 1
    assert list(server.world.tasks) == [1]
    assert ask.submit(TOLD) == 2


def test_a_dropped_request_does_nothing(server: PandaServer, ask: Asking) -> None:
    server.faults.drop("*/task/submit", times=2)
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            ask.submit(TOLD)
    assert ask.submit(TOLD) == 1


def test_an_error_may_come_before_or_after_the_change(server: PandaServer, ask: Asking) -> None:
    server.faults.errors("*/task/submit", 503, "Service Unavailable")
    server.faults.errors("*/task/submit", 500, "database is locked", made=True)
    told = [ask.client.post("/api/v1/task/submit", json={"task_parameters": TOLD}) for _ in "ab"]
    assert [(answer.status_code, answer.text) for answer in told] == [
        (503, "Service Unavailable"),
        (500, "database is locked"),
    ]
    assert list(server.world.tasks) == [1]


def test_a_fault_may_strike_one_command_of_the_relay(server: PandaServer, ask: Asking) -> None:
    server.faults.lose_answers("*relay_idds_command", command="submit")
    assert ask.relay("ping") == {"Status": "OK"}
    with pytest.raises(httpx.RemoteProtocolError):
        ask.relay("submit", BPS_ARGS)
    names = [row["name"] for row in ask.relay("get_requests")]
    assert len(names) == 1
    assert ask.relay("get_request_id_by_name", name=names[0]) == {names[0]: 1}


def test_a_slow_answer_comes_after_the_change(server: PandaServer, ask: Asking) -> None:
    server.faults.slow(30, "*/task/submit")
    impatient = Asking(server.url, server.production_token())
    impatient.client.timeout = httpx.Timeout(0.5)
    with pytest.raises(httpx.ReadTimeout):
        impatient.submit(TOLD)
    assert list(server.world.tasks) == [1]
    server.faults.clear()
    assert ask.submit(TOLD) == 2


def test_dead_tokens_are_told_as_expired(server: PandaServer, ask: Asking) -> None:
    server.faults.void_tokens()
    answer = ask.client.get("/api/v1/system/get_user_attributes")
    assert answer.status_code == 403
    assert answer.text.endswith("Signature has expired")
    again = Asking(server.url, server.production_token())
    assert again.get("system/get_user_attributes")["success"]


def test_tokens_expire_with_the_time_of_the_model(server: PandaServer) -> None:
    brief = Asking(server.url, server.production_token(lifetime_s=3600))
    assert brief.get("system/get_user_attributes")["success"]
    server.advance(3601)
    assert brief.client.get("/api/v1/system/get_user_attributes").status_code == 403


def test_lists_of_jobs_are_cut_without_a_word(server: PandaServer, ask: Asking) -> None:
    server.faults.cut_lists(2)
    assert ask.post("job/get_description", job_ids=[7, 8, 9])["data"] == [None, None]


def test_an_outage_keeps_the_world_and_the_port(server: PandaServer, ask: Asking) -> None:
    number = ask.submit(TOLD)
    server.stop()
    with pytest.raises(httpx.ConnectError):
        ask.status(number)
    server.start()
    server.advance(5)
    assert ask.status(number) == "running"


@pytest.mark.parametrize(
    ("how", "state", "words"),
    [
        ("brokerage", "pending", "brokerage failed for 1 input datasets"),
        ("pending", "pending", "waiting"),
        ("exhausted", "exhausted", "exhausted"),
        ("throttled", "throttled", "throttled"),
    ],
)
def test_a_task_gets_stuck_and_out_again(
    server: PandaServer, ask: Asking, how: str, state: str, words: str
) -> None:
    server.faults.stick("u.rec.partial-*", how)
    number = ask.submit(TOLD)
    other = ask.submit(TOLD | {"taskName": "free"})
    server.advance(5)
    record = ask.get("task/get_detailed_info", task_id=number)["data"]
    assert record["status"] == state
    assert words in record["errorDialog"]
    assert ask.status(other) == "running"
    server.faults.unstick("u.rec.partial-*")
    verb = {"exhausted": "retry", "throttled": "resume"}.get(how)
    if verb:
        assert ask.post(f"task/{verb}", task_id=number)["data"] == 0
    server.advance(2000)
    assert ask.status(number) == "done"


def test_the_brokerage_says_why_in_a_log(server: PandaServer, ask: Asking) -> None:
    server.world.queues["CC-IN2P3_Rubin"].max_rss = 1000
    number = ask.submit(TOLD)
    server.advance(5)
    record = ask.get("task/get_detailed_info", task_id=number)["data"]
    address = record["errorDialog"].split('"')[1]
    log = httpx.get(address).text
    assert "skip CC-IN2P3_Rubin due to site RAM shortage" in log
    found = ask.client.get("/api/v1/file_server/download_jedi_log", params={"log_name": address})
    assert json.loads(found.text) == " " + log


def test_jobs_fail_as_told_so_often_as_told(server: PandaServer, ask: Asking) -> None:
    server.pilot.fail("bad_2", 1305, "no space left", "exe", times=1)
    server.pilot.fail("bad_4", 1099, "stage-in failed", times=None)
    number = ask.submit(TOLD)
    server.advance(300)
    assert ask.status(number) == "finished"
    failed = ask.get("task/get_job_descriptions", task_id=number, unsuccessful_only="true")["data"]
    told = sorted(
        (job["jobName"], job["attemptNr"], job["exeErrorDiag"], job["pilotErrorCode"])
        for job in failed
    )
    name = TOLD["taskName"]
    assert told == [
        (f"{name}.3", 1, "no space left", 0),
        (f"{name}.5", 1, None, 1099),
        (f"{name}.5", 2, None, 1099),
    ]


def test_memory_grows_in_the_steps_of_the_task(server: PandaServer, ask: Asking) -> None:
    server.pilot.fail("bad_2", 1212, "exceeded memory", times=2)
    grown = TOLD | {"maxAttempt": 5, "maxFailure": 5, "retryRamOffset": 1000, "retryRamStep": 3000}
    number = ask.submit(grown | {"retryRamMax": 6500})
    server.advance(300)
    jobs = ask.get("task/get_job_descriptions", task_id=number)["data"]
    memory = [job["minRamCount"] for job in jobs if job["jobParameters"].endswith("bad_2")]
    assert memory == [1800, 3600, 5850]


def test_messages_are_lost_doubled_and_late(server: PandaServer, ask: Asking) -> None:
    sent: list[dict[str, Any]] = []
    server.messages._queue = type("Kept", (), {"put": staticmethod(sent.append)})  # type: ignore[assignment]
    server.messages.lose, server.messages.double, server.messages.delay = 1, 1, 2
    ask.submit(TOLD | {"pfnList": ["one"], "nFiles": 1})
    server.advance(300)
    order = [(body["msg_type"], body["status"]) for body in sent]
    told = [(body["msg_type"], body["status"]) for body in server.messages.told]
    assert told[0] not in order[:1]
    assert order[:4] == [told[3], told[3], told[2], told[1]]


def test_time_may_run_by_itself() -> None:
    with PandaServer(speed=200.0) as server:
        ask = Asking(server.url, server.production_token())
        number = ask.submit(TOLD)
        deadline = time.monotonic() + 60
        while ask.status(number) != "done":
            assert time.monotonic() < deadline
            time.sleep(0.02)
