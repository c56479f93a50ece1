"""A real daemon for the documentation's examples, as a process of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cm_client import Client, DaemonUnavailable

STARTS_S = 120.0


@contextmanager
def daemon(
    folder: Path, configuration: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a daemon until the end of the block; gives its address.

    `configuration` is TOML without `[daemon]`'s `state_dir` and `socket`, its first lines those of that
    section.
    """
    # A socket's path must be short, the test's folder may be long.
    place = Path(tempfile.mkdtemp(prefix="cmd-docs-"))
    head = f'[daemon]\nstate_dir = "{folder / "state"}"\nsocket = "{place / "cmd.sock"}"\n'
    file = folder / "cmd-daemon.toml"
    file.write_text(head + configuration, encoding="utf-8")
    log = (folder / "daemon.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "cmd_daemon", "run", "-c", str(file)],
        env={**os.environ, **(environment or {})},
        stdout=log,
        stderr=log,
    )
    address = f"unix:{place / 'cmd.sock'}"
    try:
        _wait(process, address, folder / "daemon.log")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            log.close()
            shutil.rmtree(place, ignore_errors=True)
    assert process.returncode == 0, (folder / "daemon.log").read_text()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_S
    while True:
        assert process.poll() is None, log.read_text()
        with Client(address, deadline=1.0) as client:
            try:
                client.get_daemon()
            except DaemonUnavailable:
                assert time.monotonic() < deadline, log.read_text()
            else:
                return
