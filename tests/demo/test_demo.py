"""The demo as its users run it: to the end, stopped and run again, and with its daemon killed."""

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
from demo_process import ROOT, Demo
from readme import readme_commands

KILLS = 5


@pytest.fixture
def demo_dir(tmp_path: Path) -> Path:
    """The demo's working directory."""
    return tmp_path / "work"


def test_readme_names_only_targets_that_exist() -> None:
    """Each `make` command of the README is a target of the Makefile; the demo target runs the chain."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    named = {command.split()[1] for command in readme_commands() if command.startswith("make ")}
    assert {"demo", "test", "bench"} <= named <= targets
    assert "examples/full-chain/run.py\n" in makefile


@pytest.mark.timeout(600)
def test_stopped_and_killed_the_demo_still_agrees_with_the_truth(
    demo_dir: Path, tmp_path: Path
) -> None:
    """Ctrl-C half way, run again, and the daemon killed five times on the way: the same result."""
    first = Demo(demo_dir, tmp_path / "first.txt")
    try:
        first.wait_for(lambda: "demo/calibrate/0001" in first.text(), "the first group")
        os.kill(first.process.pid, signal.SIGINT)
        os.killpg(first.process.pid, signal.SIGINT)
        assert first.end() in (130, 1), first.text()
    finally:
        first.stop()

    seed = random.SystemRandom().randrange(10**6)
    print(f"seed of the kills: {seed}")
    pauses = random.Random(seed)
    second = Demo(demo_dir, tmp_path / "second.txt")
    try:
        for _ in range(KILLS):
            until = time.monotonic() + pauses.uniform(0.2, 4.0)
            second.wait_for(lambda until=until: time.monotonic() > until, "pause")  # type: ignore[misc]
            second.kill_daemon()
        second.wait_for(lambda: len(second.groups("ACCEPTED")) >= 4, "accepted groups")
        for group in json.loads(second.cm("groups", "demo", "--json").stdout):
            name = "/".join(group["name"].split("/")[1::2])
            why = second.cm("why", name)
            assert why.returncode == 0, why.stderr
            assert group["state"].removeprefix("STATE_") in why.stdout or "ACCEPTED" in why.stdout
        assert second.end() == 0, second.text()
    finally:
        second.stop()

    said = second.text()
    assert "The result agrees with the truth." in said
    assert "demo is ACCEPTED" in said
    keys = (demo_dir / "attempts" / "ledger").read_text().split()
    assert keys, "the ledger of starts is empty"
    assert len(keys) == len(set(keys)), f"an attempt was started twice (seed {seed}): {keys}"
