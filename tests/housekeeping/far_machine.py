"""A far machine for the ssh driver: a real OpenSSH server on a free loopback port.

Where Debian's openssh-server is missing it is installed (as root), else asyncssh's own server takes
its place as a separate process, with a loud warning.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import psutil

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing import FakeHost, facility_info
from cmd_housekeeping.settings import SshSettings
from cmd_housekeeping.ssh_driver import SshDriver, SshFactory

NUMBERS = itertools.count(1)
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host_key
PidFile {root}/sshd.pid
AuthorizedKeysFile {root}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxSessions {sessions}
MaxStartups 100
Subsystem sftp internal-sftp
"""
PYTHON = """#!/bin/sh
# The far machine's Python, which a test can make slow or cut off from the network.
if [ -e '{root}/slow' ]; then sleep 0.5; fi
if [ -e '{root}/cut-before' ] || [ -e '{root}/cut-after' ]; then
    exec {python} {tests}/cutting_python.py '{root}' {python} "$@"
fi
exec {python} "$@"
"""


def script_order(script: str, number: int | None = None, **fields: Any) -> JobOrder:
    """An order for a script given as text, with a key never used before."""
    number = number or next(NUMBERS)
    params = {"script": script, **fields.pop("params", {})}
    return JobOrder(
        key=f"camp/step/{number:04d}/before-1#1",
        campaign="camp",
        step="step",
        group=f"{number:04d}",
        job="before-1",
        attempt=1,
        kind=JobKind.SCRIPT,
        facility="FAR",
        **{"params": params, "walltime_s": 60.0, "memory": 512 * 1024**2, **fields},
    )


def find_sshd() -> str | None:
    """OpenSSH's server, installed if need be and if we may; None where it cannot be had, or where
    CMD_TEST_NO_SSHD asks for the stand-in."""
    if os.environ.get("CMD_TEST_NO_SSHD"):
        return None
    path = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "--yes", "--no-install-recommends", "openssh-server"],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        path = shutil.which("sshd", path="/usr/sbin")
    return path


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_key(path: Path) -> asyncssh.SSHKey:
    """A fresh private key in a file of mode 600."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(path)
    path.chmod(0o600)
    return key


class FarMachine:
    """A server, its files and the facility that is reached through it."""

    def __init__(self, root: Path, sessions: int = 10) -> None:
        self.root = root
        self.port = free_port()
        self.sshd = find_sshd()
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.process: subprocess.Popen[bytes] | None = None
        self.host_key = new_key(root / "host_key")
        client = new_key(root / "client_key")
        (root / "authorized_keys").write_bytes(client.export_public_key())
        self.trust(self.host_key)
        config = CONFIG.format(port=self.port, root=root, sessions=sessions)
        (root / "sshd_config").write_text(config)
        python = root / "python"
        tests = Path(__file__).parent
        python.write_text(PYTHON.format(root=root, python="/usr/bin/python3", tests=tests))
        python.chmod(0o755)
        self.work = root / "far"
        self.host = FakeHost(root / "state", {"FAR": facility_info("FAR")})

    def trust(self, key: asyncssh.SSHKey) -> None:
        """Make this the key that the daemon expects."""
        public = key.export_public_key().decode()
        (self.root / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")

    def start(self) -> None:
        """Start the server and wait until it listens."""
        if self.sshd:
            if os.geteuid() == 0:
                Path("/run/sshd").mkdir(exist_ok=True)
            argv = [self.sshd, "-D", "-f", str(self.root / "sshd_config")]
        else:
            warnings.warn("NO OpenSSH HERE: asyncssh's own server stands in for it", stacklevel=2)
            argv = [sys.executable, str(Path(__file__).with_name("stand_in_sshd.py"))]
            argv += [str(self.root), str(self.port)]
        with (self.root / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log)
        give_up_at = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if time.monotonic() > give_up_at or self.process.poll() is not None:
                raise RuntimeError((self.root / "sshd.log").read_text())
            time.sleep(0.02)

    def cut(self) -> None:
        """Kill the server's side of every connection; the listener stays."""
        assert self.process is not None
        if self.sshd is None:
            self.process.send_signal(signal.SIGUSR1)
            return
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name() == "sshd":
                    child.kill()

    def stop(self) -> None:
        """Kill the server and every connection."""
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None

    def settings(self, **changes: Any) -> SshSettings:
        """The facility's section `ssh`."""
        fields: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "known_hosts": self.root / "known_hosts",
            "key": self.root / "client_key",
            "work_dir": str(self.work),
            "python": str(self.root / "python"),
            "grace_s": 0.5,
            "poll_s": 0.2,
            "call_s": 20.0,
            "backoff_s": 0.05,
            "backoff_max_s": 0.2,
        }
        return SshSettings(**{**fields, **changes})

    def driver(self, **changes: Any) -> SshDriver:
        """A new driver with a connection of its own, not started."""
        facility = facility_info("FAR")
        return SshFactory().create(facility, self.settings(**changes), self.host)

    def ledger(self) -> Mapping[str, int]:
        """How often each key was really started, by the supervisors' own ledger."""
        file = self.work / "ledger"
        return Counter(file.read_text().splitlines()) if file.exists() else {}

    @contextlib.contextmanager
    def flag(self, name: str) -> Iterator[None]:
        """Let the far machine's Python misbehave."""
        (self.root / name).touch()
        try:
            yield
        finally:
            (self.root / name).unlink(missing_ok=True)

    def marked(self) -> list[psutil.Process]:
        """Living processes below the work directory: attempts, supervisors, installed programs."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                inside = process.cwd().startswith(str(self.work))
                mark = process.environ().get("CMD_ATTEMPT_DIR", "").startswith(str(self.work))
                program = any(str(self.work) in word for word in process.cmdline())
                if inside or mark or program:
                    found.append(process)
        return found

    def clear(self) -> None:
        """Leave no process behind."""
        self.stop()
        for process in self.marked():
            with contextlib.suppress(psutil.Error):
                process.kill()
