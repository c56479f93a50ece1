"""A real daemon, killed with -9 at named points and at any moment: nothing is lost or done twice."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_proof import GROUPS, proven
from daemon_process import DEADLINE_S, DaemonProcess, until

from cmd_daemon.failpoints import NAMES


def finish(daemon: DaemonProcess) -> None:
    """Start it once more, if it is not running, and let the campaign come to its end; then prove that
    each attempt ran exactly once and that the books are right."""
    if daemon.dead():
        daemon.start()
    if not daemon.state():
        daemon.apply(GROUPS)  # killed before the campaign was committed
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert daemon.stop() == 0
    proven(daemon)


def _points() -> Iterator[tuple[str, int]]:
    for name in NAMES:
        if "control" in name:
            continue  # nothing is commanded here: see test_crash_commands
        if "chunk" in name:
            continue  # nothing is removed here: see test_crash_export
        for count in (1, 4) if "commit" in name else (1, 3):
            yield name, count
    yield "before-commit", 9
    yield "after-commit", 12


@pytest.mark.parametrize(("name", "count"), list(_points()))
def test_killed_at_a_named_point(daemon: DaemonProcess, name: str, count: int) -> None:
    daemon.start(f"{name}:{count}")
    try:
        daemon.apply(GROUPS)
    except Exception:  # noqa: BLE001 - it may die under the call
        until(daemon.dead, "the end of the daemon")
    until(daemon.dead, f"the daemon's death at {name}:{count}")
    assert daemon.process is not None
    assert daemon.process.returncode == -9
    finish(daemon)


@pytest.mark.parametrize("run", range(5))
def test_killed_at_any_moment_twice(daemon: DaemonProcess, run: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    daemon.start()
    daemon.apply(GROUPS, start=True)
    for _ in range(2):
        time.sleep(dice.uniform(0.0, 0.6))  # the moment of the kill is what is tried
        daemon.kill()
        daemon.start()
    finish(daemon)


def test_killed_again_and_again_while_recovering(daemon: DaemonProcess) -> None:
    daemon.start()
    daemon.apply(GROUPS)
    for count in (1, 1, 2, 3):
        daemon.kill()
        daemon.start(f"after-commit:{count}", ready=False)
        deadline = time.monotonic() + DEADLINE_S
        while not daemon.dead() and not (daemon.serves() and daemon.state() == "ACCEPTED"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if not daemon.dead():
            break
    finish(daemon)


def test_work_goes_on_while_the_daemon_is_dead(daemon: DaemonProcess, tmp_path: Path) -> None:
    """A script that runs when the daemon dies ends without it and is not run again."""
    gate = tmp_path / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.02; done\\n"
    script = "echo $CMD_KEY >> $LEDGER\\n" + wait + "echo done\\n"
    daemon.start()
    daemon.apply(GROUPS, script)
    until(lambda: daemon.ledger().total() == GROUPS)
    daemon.kill()
    gate.touch()
    attempts = tmp_path / "state" / "local" / "USDF" / "attempts"
    until(lambda: len(list(attempts.glob("**/exit.json"))) == GROUPS)
    finish(daemon)
