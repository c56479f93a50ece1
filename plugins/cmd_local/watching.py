"""Starting supervisors, and noticing their end without asking: one process descriptor each."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cmd_local.attempts import MARK

SUPERVISOR = Path(__file__).with_name("supervisor.py")


def spawn(path: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor of an attempt, so that it outlives us. Blocks for milliseconds; raises
    OSError when the machine gives no process."""
    with (path / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=path,
            env={MARK: str(path)},
            start_new_session=True,
        )


class Watch:
    """Tells when a supervisor ends, ours or one of a former daemon.

    `on_end` is called once, in the event loop. Raises OSError where the process is gone already
    or the system has no process descriptors; the poller then asks the attempt's lock instead.
    """

    def __init__(
        self, pid: int, on_end: Callable[[], None], process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self._process = process
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.pidfd_open(pid)
        self._loop.add_reader(self._descriptor, self._ended)

    def _ended(self) -> None:
        self.close()
        if self._process is not None:
            self._process.poll()
        self._on_end()

    def tell_to_end(self) -> None:
        """Ask the supervisor to end its attempt; nothing happens if it is over."""
        if self._descriptor >= 0:
            try:
                signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Stop watching; the supervisor goes on."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
