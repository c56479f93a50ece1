"""The server as a process: ready, killed, started again; tokens, TLS, the control endpoint; and jobs
that are run for real, each once, whatever is killed."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import Asking
from recorded import BPS_ARGS
from recorded_world import life

HERE = Path(__file__).parent
DEADLINE_S = 90.0


class Running:
    """A server process with its state below a directory."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.where: dict[str, Any] = {}

    def run(self, *arguments: str) -> list[str]:
        """The command line of the package."""
        return [sys.executable, "-m", "panda_server", *arguments, "--state", str(self.home)]

    def start(self) -> None:
        """Start, on the ports of the last time, and wait until it answers."""
        ports = [httpx.URL(self.where[name]).port or 0 for name in ("url", "tls_url") if self.where]
        named = ["--port", str(ports[0]), "--tls-port", str(ports[1])] if ports else []
        ready = self.home / "server.json"
        ready.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.run("serve", *self.options, *named), cwd=HERE)
        wait(ready.exists)
        self.where = json.loads(ready.read_text())

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(30) == 0

    def ask(self) -> Asking:
        """Test User with the role, with a token from the command line."""
        token = subprocess.check_output(self.run("token"), cwd=HERE, text=True).strip()
        return Asking(self.where["url"], token)

    def control(self, verb: str, **told: Any) -> Any:
        """A verb of the control endpoint."""
        answer = httpx.post(f"{self.where['url']}/control/{verb}", json=told)
        assert answer.status_code == 200, answer.text
        return answer.json()


def wait(until: Callable[[], Any]) -> Any:
    """What the question answers when it is no longer false."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := until()):
        assert time.monotonic() < deadline, until
        time.sleep(0.05)
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A server that runs jobs, two at a time per queue."""
    running = Running(
        tmp_path / "panda", "--slots", "2", "--pace", "0.05", "--queue", "SLAC_Rubin,US,usdf"
    )
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.kill()


def told(command: str, *inputs: str, **more: Any) -> dict[str, Any]:
    """Parameters of a task that runs a command for each input."""
    return life("partial-finished") | {
        "taskName": "real",
        "pfnList": list(inputs),
        "nFiles": len(inputs),
        "jobParameters": [{"type": "constant", "value": command}],
        **more,
    }


def test_jobs_run_for_real_and_tell_how_it_went(server: Running) -> None:
    ask = server.ask()
    command = (
        "echo about ${IN/L} in $PILOT_HOME; test ${IN/L} != bad || { echo no luck >&2; exit 7; }"
    )
    number = ask.submit(told(command, "good", "bad", maxAttempt=2, maxFailure=2))
    wait(lambda: ask.status(number) == "finished")
    jobs = ask.get("task/get_job_descriptions", task_id=number)["data"]
    ended = sorted((job["jobStatus"], job["transExitCode"], job["attemptNr"]) for job in jobs)
    assert ended == [("failed", "7", 1), ("failed", "7", 2), ("finished", "0", 1)]
    failed = next(job for job in jobs if job["jobStatus"] == "failed")
    assert failed["pilotErrorDiag"] == "Failed to execute payload: no luck"
    log = failed["pilotID"].partition("|")[0]
    assert "real" in httpx.get(log).text
    words = httpx.get(log.replace("pilotlog.txt", "payload.stdout")).text
    assert words.startswith("about bad in ")
    tail = httpx.get(log.replace("pilotlog.txt", "payload.stderr"), headers={"Range": "bytes=-5"})
    assert (tail.status_code, tail.text) == (206, "luck\n")
    done = Counter((entry["input"], entry["attempt"]) for entry in server.control("ledger"))
    assert done == {("good", 1): 1, ("bad", 1): 1, ("bad", 2): 1}


def test_slots_are_bounded(server: Running, tmp_path: Path) -> None:
    ask = server.ask()
    gate = tmp_path / "gate"
    names = [f"in{n}" for n in range(5)]
    number = ask.submit(told(f"while ! test -e {gate}; do sleep 0.05; done", *names))
    wait(lambda: server.control("state")["jobs"].get("running") == 2)
    assert server.control("state")["jobs"] == {"running": 2, "activated": 3}
    gate.touch()
    wait(lambda: ask.status(number) == "done")


def test_a_killed_server_goes_on_and_nothing_runs_twice(server: Running, tmp_path: Path) -> None:
    ask = server.ask()
    gate = tmp_path / "gate"
    names = [f"in{n}" for n in range(6)]
    number = ask.submit(told(f"while ! test -e {gate}; do sleep 0.05; done", *names))
    wait(lambda: len(server.control("ledger")) == 2)
    for _ in range(2):
        server.kill()
        gate.touch()
        server.start()
        wait(lambda: server.control("state")["time"])
    wait(lambda: ask.status(number) == "done")
    done = Counter((entry["input"], entry["attempt"]) for entry in server.control("ledger"))
    assert done == {(name, 1): 1 for name in names}


def test_a_kill_ends_the_process(server: Running, tmp_path: Path) -> None:
    ask = server.ask()
    number = ask.submit(told(f"echo $$ > {tmp_path}/pid; sleep 600", "in"))
    wait((tmp_path / "pid").exists)
    pid = int(wait((tmp_path / "pid").read_text))
    assert ask.post("task/kill", task_id=number)["data"] == 0
    wait(lambda: ask.status(number) == "aborted")
    wait(lambda: not alive(pid))
    (job,) = ask.get("task/get_job_descriptions", task_id=number)["data"]
    assert (job["jobStatus"], job["taskBufferErrorDiag"]) == ("cancelled", "kill by Test User")


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_pilot_that_dies_is_a_lost_heartbeat(server: Running, tmp_path: Path) -> None:
    ask = server.ask()
    command = f"test -e {tmp_path}/once && exit 0; touch {tmp_path}/once; sleep 600"
    number = ask.submit(told(command, "in"))
    wait((tmp_path / "once").exists)
    assert server.control("kill_jobs", task="real") == 1
    wait(lambda: ask.status(number) == "done")
    jobs = ask.get("task/get_job_descriptions", task_id=number)["data"]
    assert sorted((j["jobStatus"], j["jobDispatcherErrorCode"]) for j in jobs) == [
        ("failed", 100),
        ("finished", 0),
    ]
    for file in (server.home / "jobs").glob("*/process.json"):
        pid = json.loads(file.read_text())[0]
        if alive(pid):
            os.kill(pid, signal.SIGTERM)


def executable_of(args: str, command: str) -> str:
    """The recorded workflow with a command line, as BPS makes it of `runnerCommand`."""
    return args.replace('"executable": ""', f'"executable": {json.dumps(command)}')


def test_a_workflow_of_bps_is_run_in_its_order(server: Running, tmp_path: Path) -> None:
    ask = server.ask()
    args = executable_of(BPS_ARGS, f"echo '${{IN/L}}' >> {tmp_path}/ran")
    request = ask.relay("submit", args)
    wait(lambda: ask.request_status(request) == "Finished")
    ran = [line.partition("+")[0] for line in (tmp_path / "ran").read_text().splitlines()]
    assert (ran[0], ran[-1]) == ("pipetaskInit", "pure_pseudoinput")
    assert sorted(name.partition("_")[2] for name in ran[1:-1]) == [
        f"cal_1006_{n}" for n in range(4)
    ]


def test_tls_and_other_roles(server: Running) -> None:
    trust = ssl.create_default_context(cafile=server.where["ca_file"])
    user = server.control("token", role="user")
    ask = Asking(server.where["tls_url"], user, production=False, verify=trust)
    told = ask.get("system/get_user_attributes")["data"]
    assert (told["user_dn_clean"], told["is_production_user"]) == ("Test User", False)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(server.where["tls_url"])


def test_the_control_endpoint_makes_faults_and_refuses_nonsense(server: Running) -> None:
    ask = server.ask()
    server.control("fault", kind="errors", path="*/task/get_status", status=503)
    assert ask.client.get("/api/v1/task/get_status", params={"task_id": 1}).status_code == 503
    server.control("queue", name="LANCS_Rubin", status="offline")
    specs = ask.get("metaconfig/get_site_specs", type="all")["data"]
    assert specs["LANCS_Rubin"]["status"] == "offline"
    url = f"{server.where['url']}/control"
    assert httpx.post(f"{url}/nonsense").status_code == 404
    assert httpx.post(f"{url}/advance", json={"hours": 1}).status_code == 400


def test_a_file_is_kept_and_not_overwritten(server: Running) -> None:
    ask = server.ask()
    for expected in (True, False):
        answer = ask.client.post(
            "/api/v1/file_server/upload_cache_file", files={"file": ("jobO.x.tar.gz", b"packed")}
        )
        assert json.loads(answer.text)["success"] is expected, answer.text
    server.kill()
    server.start()
    assert httpx.get(f"{server.where['url']}/cache/jobO.x.tar.gz").content == b"packed"
    server.stop()
