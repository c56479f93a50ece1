"""`cm` through a real daemon: what a pilot does on a day, and what a script can rely on."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_process import CAMPAIGN, SCRIPT, DaemonProcess, until


@pytest.fixture(scope="module")
def living(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaemonProcess]:
    """One daemon for all of these."""
    database = ""
    if request.config.getoption("--database") == "postgresql":
        database = request.getfixturevalue("postgres_server").fresh()
    made = DaemonProcess(tmp_path_factory.mktemp("cm"), slots=50, database=database)
    made.start()
    yield made
    assert made.stop() == 0
    made.end()


class Cm:
    """`cm` in processes of its own."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.environment = {"CM_ADDRESS": daemon.target, "CM_ACTOR": "pilot", "COLUMNS": "100"}
        self.root = daemon.root

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin it."""
        return subprocess.Popen(
            [sys.executable, "-m", "cm_cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run it to its end; what it printed. Fails unless it ends with that code."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=40)
        assert process.returncode == code, f"{arguments}: {process.returncode}\n{out}\n{err}"
        return out if code in (0, 3, 4, 5) else out + err

    def json(self, *arguments: str) -> Any:
        """What it prints with --json."""
        return json.loads(self(*arguments, "--json"))

    def file(self, name: str, script: str = SCRIPT, **more: str) -> str:
        """A campaign file of that name."""
        text = CAMPAIGN.format(groups=3, script=script).replace("crash", name)
        for old, new in more.items():
            text = text.replace(old, new)
        path = self.root / f"{name}.yaml"
        path.write_text(text)
        return str(path)


@pytest.fixture
def cm(living: DaemonProcess) -> Cm:
    """`cm` against the daemon."""
    return Cm(living)


def test_a_campaign_from_plan_to_archive(cm: Cm) -> None:
    file = cm.file("day")
    assert "day" in cm("plan", file)
    cm("status", "day", code=1)
    cm("apply", file)
    assert cm.json("show", "day")["state"].endswith("DRAFT")
    cm("start", "day")
    cm("watch", "day", code=0)
    assert "ACCEPTED" in cm("status", "day")
    log = cm("logs", "day/one/1/before-1", "--follow")
    assert "begins day/one/1/before-1#1" in log
    events = cm.json("events", "day")
    assert events
    assert {"seq", "name", "to_state"} <= {key.replace("toState", "to_state") for key in events[0]}
    assert "final" in cm("retry", "day/one/1", "--missing-only", code=1)
    cm("archive", "day")
    assert "day" not in cm("list")


def test_watch_tells_the_fate_by_its_exit_code(cm: Cm) -> None:
    never = ":\\nexit 9\\n"
    fails = cm.file("fails", script=never, defaults="defaults: {errors: [{action: fail}]}\nx-rest")
    text = Path(fails).read_text().replace("x-rest:\n  retry: {attempts: 3, backoff: 1 s}\n", "")
    Path(fails).write_text(text)
    cm("apply", fails, "--start")
    cm("watch", "fails", code=3)
    assert "FAILED" in cm("why", "fails")
    waits = cm.file("gone", script=":\\nsleep 600\\n")
    cm("apply", waits, "--start")
    until(lambda: cm.json("jobs", "gone/one/1"))
    watching = cm.start("watch", "gone")
    cm("cancel", "gone", "--reason", "wrong stack")
    out, err = watching.communicate(timeout=40)
    assert watching.returncode == 4, out + err


def test_a_held_group_tells_why_and_what_to_do(cm: Cm) -> None:
    gate = cm.root / "repaired"
    file = cm.file("held", script=f":\\ntest -e {gate}\\n")
    Path(file).write_text(Path(file).read_text().replace("attempts: 3", "attempts: 1"))
    cm("apply", file, "--start")
    cm("watch", "held", "--exit-on-hold", code=5)
    why = cm("why", "held/one/1")
    assert "cm retry held/one/1" in why
    assert "HELD" in why
    refused = cm("retry", "held/one/1", "--missing-only", code=1)
    assert "missing" in refused or "quanta" in refused, refused
    gate.touch()
    until(lambda: all(g["state"].endswith("HELD") for g in cm.json("groups", "held/one")))
    cm("retry", "held/one/1", "held/one/2", "held/one/3")
    cm("watch", "held", code=0)


def test_ctrl_c_in_a_watch_leaves_the_campaign_alone(cm: Cm) -> None:
    gate = cm.root / "go"
    file = cm.file("alone", script=f":\\nwhile [ ! -e {gate} ]; do sleep 0.02; done\\n")
    cm("apply", file, "--start")
    watching = cm.start("watch", "alone")
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=40)
    assert watching.returncode == 130
    assert "RUNNING" in cm("status", "alone")
    gate.touch()
    cm("watch", "alone", code=0)


def test_a_bad_file_and_a_daemon_that_is_not_there(cm: Cm, tmp_path: Path) -> None:
    file = cm.file("bad", owner="ownr")
    told = cm("apply", file, code=2)
    assert "ownr" in told
    cm.environment["CM_ADDRESS"] = f"unix:{tmp_path}/nobody.sock"
    cm("list", code=6)
