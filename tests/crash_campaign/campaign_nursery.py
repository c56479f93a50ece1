"""Starts daemons fast: imports the daemon once, then forks a process for each `cmd-daemon run`.

    python campaign_nursery.py CLOCK PLUGIN...

Reads one JSON line a daemon, {"config": ..., "log": ..., "failpoint": ...}; answers {"pid": ...} when it is
born, and {"pid": ..., "code": ...} when it has ended (a signal's code is negative). The file CLOCK holds
the seconds by which the daemons' clock is wrong; they read it when they start and upon SIGUSR2.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import sys
from pathlib import Path

import cmd_daemon.failpoints
from cmd_daemon.__main__ import main
from cmd_daemon.engine.clock import SystemClock
from cmd_daemon.hooks.manager import Plugins

RIGHT_NOW = SystemClock.now


def shift_clock(file: Path) -> None:
    """Let the daemon of this process believe the file."""
    shift = 0

    def read(*_: object) -> None:
        nonlocal shift
        with contextlib.suppress(OSError, ValueError):
            shift = round(float(file.read_text()) * 1e6)

    read()
    SystemClock.now = lambda clock: RIGHT_NOW(clock) + shift  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR2, read)


def child(order: dict[str, str], clock: Path) -> None:
    """What the forked process does: exactly `cmd-daemon run`."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ["CMD_FAILPOINT"] = order["failpoint"]
    importlib.reload(cmd_daemon.failpoints)
    shift_clock(clock)
    main(["run", "-c", order["config"]], prog_name="cmd-daemon")


def reaped() -> None:
    """Tell of every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            print(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}), flush=True)


def nurse(clock: Path) -> None:
    """Until standard input ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    kept = b""
    while True:
        ready, _, _ = select.select([0, reading], [], [])
        if reading in ready:
            os.read(reading, 4096)
            reaped()
        if 0 not in ready:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, kept = (kept + data).split(b"\n")
        for line in lines:
            pid = os.fork()
            if not pid:
                os.close(reading)
                os.close(writing)
                child(json.loads(line), clock)
                os._exit(0)
            print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    Plugins.load(sys.argv[2:], {})  # the modules of the plugins are what takes time
    if "rucio_butler" in sys.argv:
        import campaign_rucio_points

        campaign_rucio_points.plant()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a child may be told before it listens
    nurse(Path(sys.argv[1]))
