"""A real daemon with the driver panda at three facilities: killed in the middle, without a valid token for
a while, to the end; and nowhere a word of its token."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, until
from panda_place import FACILITIES
from panda_server.model.pace import Pace
from panda_server.server import PandaServer

from cmd_api.v1.job_pb2 import Job

pytestmark = pytest.mark.timeout(400)

CM = Path(sys.executable).parent / "cm"
DEADLINE_S = 100.0

CONFIG = """\
[daemon]
state_dir = "{root}/state"
socket = "{root}/cmd.sock"
plugins = ["local", "facility", "fakes", "panda"]
log_format = "console"
log_level = "debug"
"""

FACILITY = """
[facility.{name}]
slots = 4
memory = "8 GB"
cores = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "panda", collect = "null" }}

[facility.{name}.settings.fake]
poll_s = 0.05
world = "{root}/world-{name}"

[facility.{name}.settings.panda]
server = "{url}"
token_file = "{root}/token"
queue = "{queue}"
poll_s = 0.5
settle_s = 3
monitor = "https://bigmon.example.org"
env = {{ LEDGER = "{root}/ledger" }}
"""

SCRIPT = "echo begins $CMD_KEY\\necho $CMD_KEY >> $LEDGER\\n"


class PandaDaemon(DaemonProcess):
    """A daemon whose scripts are PanDA tasks of a contract server beside it."""

    def __init__(self, root: Path, server: PandaServer) -> None:
        super().__init__(root)
        self.server = server
        self.tokens: list[str] = []
        told = CONFIG.format(root=root)
        for name, queue in FACILITIES.items():
            told += FACILITY.format(root=root, name=name, url=server.url, queue=queue)
        self.config.write_text(told)
        self.renew()

    def renew(self, lifetime_s: float = 86_400.0) -> None:
        """Put a new token where the daemon reads it."""
        self.tokens.append(self.server.production_token(lifetime_s))
        fresh = self.root / "token.new"
        fresh.write_text(self.tokens[-1])
        fresh.rename(self.root / "token")

    def begin(self, groups: int, script: str = SCRIPT) -> None:
        """Apply the campaign `crash` for the three facilities."""
        from daemon_process import CAMPAIGN

        text = CAMPAIGN.format(groups=groups, script=script)
        text = text.replace("facilities: [USDF]", f"facilities: [{', '.join(FACILITIES)}]")
        with self.client() as client:
            client.apply_campaign(text, start=True)

    def cm(self, *args: str) -> str:
        """The output of a command."""
        env = {**os.environ, "CM_ADDRESS": self.target, "COLUMNS": "250"}
        done = subprocess.run(
            [str(CM), *args], env=env, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout + done.stderr


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[PandaDaemon]:
    with PandaServer(speed=1.0, pace=Pace().scaled(0.05), state=tmp_path / "panda") as server:
        server.run_locally(slots=4)
        made = PandaDaemon(tmp_path, server)
        try:
            yield made
        finally:
            if not made.dead():
                made.kill()


def names_of_tasks(daemon: PandaDaemon) -> Counter[str]:
    """How often each name was submitted."""
    with daemon.server.world.lock:
        tasks = list(daemon.server.world.tasks.values())
    return Counter(str(task.parameters["taskName"]) for task in tasks)


def everything_said(daemon: PandaDaemon) -> str:
    """All that the daemon has written: its log, its state, the server's copies of what it sent."""
    said = []
    folders = [daemon.root / "state", daemon.root / "cmd.log", daemon.root / "panda" / "jobs"]
    for folder in folders:
        files = [folder] if folder.is_file() else folder.rglob("*")
        said += [file.read_bytes().decode("latin-1") for file in files if file.is_file()]
    return "\n".join(said)


def command_lines(pid: int) -> str:
    """The command lines of a process and its children."""
    said = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if pid in (parent, int(folder.name)):
                said.append((folder / "cmdline").read_bytes().decode("latin-1"))
        except (OSError, IndexError, ValueError):
            continue
    return "\n".join(said)


def test_killed_in_the_middle_and_without_a_token_for_a_while(daemon: PandaDaemon) -> None:
    daemon.start()
    daemon.begin(groups=6)
    until(lambda: sum(daemon.ledger().values()) >= 3, "some scripts that ran", DEADLINE_S)
    daemon.kill()
    daemon.start()
    until(lambda: sum(daemon.ledger().values()) >= 6, "more scripts that ran", DEADLINE_S)
    daemon.server.faults.void_tokens()
    until(
        lambda: "Signature has expired" in (daemon.root / "cmd.log").read_text(),
        "a daemon that was told so",
        DEADLINE_S,
    )
    said = [daemon.cm("facilities"), daemon.cm("facility", "USDF"), daemon.cm("why", "crash")]
    cmdline = command_lines(daemon.process.pid) if daemon.process else ""
    daemon.renew()
    until(lambda: daemon.state() == "ACCEPTED", "a campaign that is accepted", DEADLINE_S)
    assert daemon.ledger(), "scripts ran for real"
    assert set(daemon.ledger().values()) == {1}, "each attempt once"
    assert set(names_of_tasks(daemon).values()) == {1}, "each task once"
    assert daemon.stop() == 0
    said += [everything_said(daemon), cmdline]
    for token in daemon.tokens:
        for part in (token, token.rpartition(".")[2]):
            assert part not in "\n".join(said), "a token was said"


def test_from_a_failed_group_to_its_jobs_error_and_its_log(daemon: PandaDaemon) -> None:
    daemon.start()
    daemon.begin(groups=1, script="echo the calibration is missing >&2\\nexit 3\\n")

    def held() -> str:
        with daemon.client() as client:
            jobs = [job for job in client.jobs("campaigns/crash") if job.state == Job.STATE_HELD]
        return jobs[0].name if jobs else ""

    job = until(held, "a job whose every attempt has failed", DEADLINE_S)
    short = "/".join(job.split("/")[1::2])
    why = daemon.cm("why", short)
    assert "the calibration is missing" in why
    parts = json.loads(daemon.cm("logs", "--parts", "--json", short))
    listed: list[dict[str, Any]] = parts if isinstance(parts, list) else parts["parts"]
    links = [part.get("link", "") for part in listed]
    assert any(link.startswith("https://bigmon.example.org/job?pandaid=") for link in links)
    logs = [part for part in listed if part.get("log")]
    stderr = next(str(part["name"] if "name" in part else part["part"]) for part in logs[::-1])
    assert "stderr" in stderr
    assert "the calibration is missing" in daemon.cm("logs", "--part", stderr, short)
    assert daemon.stop() == 0


async def test_it_refuses_an_old_server_with_a_clear_word(daemon: PandaDaemon) -> None:
    text = "ERROR : method is_alive is forbidden"
    daemon.server.faults.errors("*/system/is_alive", 403, text, times=None)
    await asyncio.to_thread(daemon.start)
    await asyncio.to_thread(
        until,
        lambda: "PanDA 1.0 or newer is needed" in daemon.cm("facility", "USDF"),
        "a facility that says so",
        DEADLINE_S,
    )
    daemon.server.faults.clear()
    await asyncio.to_thread(daemon.begin, 1)
    await asyncio.to_thread(until, lambda: daemon.state() == "ACCEPTED", "the end", DEADLINE_S)
