"""The supervisor of one attempt: starts its command at most once and writes down how it ended.

    python -I -S supervisor.py ATTEMPT_DIRECTORY

Self-contained (standard library, Python 3.9 or newer, Linux), because it may run under any Python
of the facility and must survive the daemon. It reads `command.json` of the attempt's directory:

    {"key", "argv", "env", "cwd", "walltime_s", "memory", "grace_s", "ledger"}

and keeps these files there:

    supervisor.lock  held with flock for the supervisor's whole life, its process id inside
    started          made with O_EXCL just before the command starts; never started twice
    log.txt          standard output and error of the command
    exit.json        {exit_code, signal, started_at, finished_at, max_rss, cpu_seconds,
                     killed_for, error, errno}

`killed_for` is null, "memory", "time", "cancelled" (a file `cancel` appeared) or "terminated" (the
supervisor itself was told to end). Times are microseconds UTC, sizes bytes. The ledger gets one
line for each real start. When the command has ended, whatever it left behind is ended too.
"""
# No pathlib: this file has to start fast.
# ruff: noqa: PTH104, PTH110, PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import Any

TICK_S = 1.0
LOCK_WAIT_S = 10.0
START_WAIT_S = 20.0
BUSY = {errno.ETXTBSY, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Errors at a command's start that pass: another process still holds the script's file open for
writing (between its fork and its exec), or the machine has no process or memory to give just now."""
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WAKING = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
TELLING_TO_END = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def write_durably(name: str, document: dict[str, Any]) -> None:
    """Write a JSON file so that it is there whole, also after a crash, or not at all."""
    partial = f".{name}.{os.getpid()}"
    with open(partial, "w") as out:
        json.dump(document, out)
        out.flush()
        os.fsync(out.fileno())
    os.rename(partial, name)
    sync_directory(".")


def sync_directory(path: str) -> None:
    """Make renames and new names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def take_lock() -> int | None:
    """Hold the attempt's lock, or return None if another supervisor keeps it.

    A prober may hold it for an instant, so it is asked for more than once.
    """
    handle = os.open("supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_at:
                os.close(handle)
                return None
            time.sleep(0.02)
        else:
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            return handle


def descendants() -> dict[int, int]:
    """Living processes below this one, as {pid: resident bytes}. Zombies are left out."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as source:
                fields = source.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] in (b"Z", b"X"):
            continue
        parents[int(name)] = int(fields[1])
        sizes[int(name)] = int(fields[21]) * page
    mine = os.getpid()
    found: dict[int, int] = {}
    for pid in parents:
        up = pid
        for _ in range(200):
            up = parents.get(up, 0)
            if up in (0, 1):
                break
            if up == mine:
                found[pid] = sizes[pid]
                break
    return found


def now_us() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


class Attempt:
    """The command under supervision."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.command = command
        self.main: int | None = None
        self.status: int | None = None
        self.killed_for: str | None = None
        self.kill_at: float | None = None
        self.max_rss = 0

    def start(self) -> None:
        """Start the command in a session of its own; raises OSError if it cannot be started."""
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        # Orphans of the command become ours, so that none escapes the limits or the end.
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

        def in_child() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WAKING)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

        give_up_at = time.monotonic() + START_WAIT_S
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            while self.main is None:
                try:
                    process = subprocess.Popen(
                        self.command["argv"],
                        env=self.command["env"],
                        cwd=self.command["cwd"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=in_child,
                    )
                except OSError as error:
                    # Nothing ran: another try is no second start.
                    if error.errno not in BUSY or time.monotonic() > give_up_at:
                        raise
                    time.sleep(0.05)
                else:
                    process.returncode = 0  # reaped below by waitpid(-1), not by Popen
                    self.main = process.pid
        finally:
            os.close(log)

    def reap(self) -> None:
        """Collect ended children; remember how the command itself ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.main:
                self.status = status

    def end(self, reason: str | None, at_once: bool = False) -> None:
        """Begin to end the whole tree; the reason that came first stays."""
        if self.kill_at is None:
            if self.status is None:
                self.killed_for = reason
            self.kill_at = time.monotonic() + (0.0 if at_once else self.command["grace_s"])
            if not at_once:
                self.send(signal.SIGTERM)

    def send(self, number: int) -> None:
        """Signal every living process of the tree."""
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def watch(self) -> int:
        """Wait for the end of the whole tree, holding it to its limits; the command's status."""
        deadline = time.monotonic() + self.command["walltime_s"]
        tick = 0.05
        while True:
            told = signal.sigtimedwait(WAKING, tick)
            tick = min(TICK_S, tick * 2)
            self.reap()
            living = descendants()
            rss = sum(living.values())
            self.max_rss = max(self.max_rss, rss)
            if self.status is not None and not living:
                return self.status
            if self.status is not None:
                self.end(None)
            elif os.path.exists("cancel"):
                self.end("cancelled")
            elif told is not None and told.si_signo in TELLING_TO_END:
                self.end("terminated")
            elif time.monotonic() > deadline:
                self.end("time")
            elif self.command["memory"] and rss > self.command["memory"]:
                self.end("memory", at_once=True)
            if self.kill_at is not None:
                if time.monotonic() >= self.kill_at:
                    self.send(signal.SIGKILL)
                tick = 0.05

    def exit_code(self, status: int) -> tuple[int, int | None]:
        """(exit code as a shell would say it, signal or None)."""
        ended_by: int | None = None
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            code, ended_by = 128 + number, number
        else:
            code = os.WEXITSTATUS(status)
        if self.killed_for == "memory":
            code = 137
        elif self.killed_for == "time":
            code = 124
        return code, ended_by


def supervise(command: dict[str, Any]) -> dict[str, Any]:
    """Run the command once and say how it ended, as the content of exit.json."""
    started_at = now_us()
    ending: dict[str, Any] = {
        "started_at": started_at,
        "max_rss": 0,
        "cpu_seconds": 0.0,
        "killed_for": None,
    }
    if os.path.exists("cancel"):
        ending.update(exit_code=None, signal=None, killed_for="cancelled", started_at=None)
        return ending
    marker = os.open("started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(marker, str(started_at).encode())
    os.fsync(marker)
    os.close(marker)
    sync_directory(".")
    if command.get("ledger"):
        # A witness only: what cannot be written there must not end the attempt here.
        with contextlib.suppress(OSError):
            ledger = os.open(command["ledger"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(ledger, f"{command['key']}\n".encode())
            os.close(ledger)
    attempt = Attempt(command)
    try:
        attempt.start()
    except OSError as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        words = f"{command['argv'][0]} cannot be started: {error.strerror}"
        with contextlib.suppress(OSError), open("log.txt", "a") as log:
            log.write(words + "\n")
        ending.update(exit_code=code, signal=None, error=words, errno=error.errno)
        return ending
    code, number = attempt.exit_code(attempt.watch())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    ending.update(
        exit_code=code,
        signal=number,
        killed_for=attempt.killed_for,
        max_rss=max(attempt.max_rss, used.ru_maxrss * 1024),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
    )
    return ending


def main() -> int:
    """Supervise the attempt of the directory named by the only argument."""
    # From here on signals wait until they are asked for; the command itself gets them unblocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKING)
    os.chdir(sys.argv[1])
    lock = take_lock()
    if lock is None:
        print("another supervisor holds this attempt", file=sys.stderr)
        return 3
    if os.path.exists("exit.json"):
        return 0
    if os.path.exists("started"):
        # A supervisor before this one started the command and vanished: never a second start.
        print("the command was started before", file=sys.stderr)
        return 4
    with open("command.json") as source:
        command = json.load(source)
    ending = supervise(command)
    ending["finished_at"] = now_us()
    write_durably("exit.json", ending)
    return 0


if __name__ == "__main__":
    sys.exit(main())
