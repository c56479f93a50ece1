"""Processes that tests need: started with a log of their own, waited for, stopped with their children."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class SiteError(Exception):
    """A service cannot be started or has fallen over: what, and what to do about it."""


def until(true: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until it holds and return what it came to; SiteError after the deadline (seconds)."""
    end = time.monotonic() + deadline_s
    while not (seen := true()):
        if time.monotonic() > end:
            raise SiteError(f"{what} never came to be (waited {deadline_s:.0f} s)")
        time.sleep(0.05)
    return seen


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(argv: Sequence[str], log: Path, **options: Any) -> None:
    """Run to the end; its output goes to `log`. SiteError with the log's tail if it fails."""
    with log.open("ab") as out:
        done = subprocess.run(argv, stdout=out, stderr=out, check=False, **options)
    if done.returncode:
        raise SiteError(f"{argv[0]} ended with {done.returncode}:\n{tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@functools.cache
def _keeper() -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("keeper.py")
    return subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, start_new_session=True
    )


def kept(word: str) -> None:
    """Tell the keeper, which clears up after us if we are killed: see `keeper.py` for words."""
    pipe = _keeper().stdin
    assert pipe is not None
    pipe.write(f"{word}\n".encode())
    pipe.flush()


class Process:
    """A long-running program; may be stopped and started again.

    `ready` says whether it serves; `user` and `group` are the account it runs as, ours if None.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        group: str | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._ready = ready
        self._env = dict(env) if env is not None else None
        self._user = user
        self._group = group or user
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id; SiteError if it does not run."""
        if self._child is None:
            raise SiteError(f"{self.name} does not run")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.poll() is None

    def spawn(self) -> None:
        """Start it without waiting; nothing happens if it runs."""
        if self.running:
            return
        with self.log.open("ab") as out:
            # A session of its own: its children end with it, and ^C is for us to handle.
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._env,
                cwd="/",
                start_new_session=True,
                user=self._user,
                group=self._group,
                extra_groups=[] if self._user else None,
            )
        kept(f"+{self._child.pid}")

    def wait(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until it serves; SiteError with its log's tail if it ends instead or never does."""

        def serves() -> bool:
            if not self.running:
                raise SiteError(f"{self.name} ended at its start:\n{tail(self.log)}")
            return self._ready()

        until(serves, f"a serving {self.name} (log: {self.log})", deadline_s)

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.spawn()
        self.wait()

    def stop(self, sign: signal.Signals = signal.SIGTERM, deadline_s: float = 15.0) -> None:
        """Ask it to end; what is left of it after the deadline, children too, is killed."""
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(deadline_s)
        self.kill()

    def kill(self) -> None:
        """kill -9, its children too."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        kept(f"-{child.pid}")

    def freeze(self) -> None:
        """Let it hang, its children too: connections are accepted by nobody but not refused."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)
