"""A fresh Debian 12 that systemd has booted, in a container with the network of this machine."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from services.debian import found
from services.processes import SiteError, until

CODENAME = "bookworm"
INCLUDED = "systemd,systemd-sysv,dbus,ca-certificates,procps"
OWN_SETTINGS = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/apt/apt.conf.d",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
)
"""How this machine reaches packages: the fresh one reaches them in the same way."""

BOOT_S = 120.0
COMMAND_S = 600.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(AssertionError):
    """A command in the machine ended with another code than expected; what it printed."""


def _mirror() -> str:
    """Where this machine gets its Debian from. Raises SiteError."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Identifier: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for line in told.splitlines():
        uri, _, release = line.partition(" ")
        if release == CODENAME:
            return uri.rstrip("/")
    raise SiteError(f"this machine's apt knows no Debian {CODENAME}; the fresh machine is one")


class FreshDebian:
    """Made and booted by `start`, below `place`; root only, for containers need it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "machine"
        self._log = place / "machine.log"
        self._container: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Install and boot it. Raises SiteError."""
        if os.geteuid():
            raise SiteError("a fresh Debian is booted in a container: only root can do that")
        debootstrap = found(lambda: _program("debootstrap"), "debootstrap", "debootstrap")
        nspawn = found(lambda: _program("systemd-nspawn"), "systemd-container", "systemd-nspawn")
        words = [debootstrap, "--variant=minbase", f"--include={INCLUDED}", CODENAME, self.root]
        with self._log.open("ab") as log:
            done = subprocess.run([*words, _mirror()], stdout=log, stderr=log, check=False)
            if done.returncode:
                raise SiteError(f"debootstrap failed:\n{self._log.read_text()[-2000:]}")
            for name in OWN_SETTINGS:
                self._bring(Path(name))
            self._container = subprocess.Popen(
                [nspawn, f"--directory={self.root}", "--boot", f"--machine=cmd-{os.getpid()}",
                 "--register=no", "--keep-unit", "--hostname=fresh"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._booted, "a machine whose systemd has come up", BOOT_S)

    def _bring(self, source: Path) -> None:
        there = self.root / source.relative_to("/")
        if source.is_dir():
            shutil.copytree(source, there, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy(source, there)
        elif there.exists():
            there.unlink()

    def _booted(self) -> bool:
        assert self._container is not None
        if self._container.poll() is not None:
            raise SiteError(f"the machine ended at once:\n{self._log.read_text()[-2000:]}")
        try:
            state = self.run("systemctl is-system-running || true").strip()
        except (CommandFailed, IndexError):
            return False
        return state in ("running", "degraded")

    def run(self, command: str, typed: str = "", code: int = 0) -> str:
        """Have root's shell run a command in /root; what it printed. Raises CommandFailed."""
        assert self._container is not None
        init = psutil.Process(self._container.pid).children()[0].pid
        done = subprocess.run(
            ["nsenter", "--target", str(init), "--all", "--",
             "env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
             "sh", "-c", f"cd /root && {command}"],
            input=typed, capture_output=True, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        if done.returncode != code:
            raise CommandFailed(f"{command}: ended with {done.returncode}, not {code}:\n{said}")
        return said

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        there = self.root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def copy(self, files: Sequence[Path]) -> None:
        """Bring files to /root."""
        for file in files:
            shutil.copy(file, self.root / "root")

    def end(self) -> None:
        """Switch it off and remove it."""
        container, self._container = self._container, None
        if container is not None:
            container.send_signal(signal.SIGTERM)
            try:
                container.wait(30)
            except subprocess.TimeoutExpired:
                container.kill()
                container.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def _program(name: str) -> Path | None:
    path = shutil.which(name)
    return None if path is None else Path(path)


def settled(machine: FreshDebian, command: str, wanted: str, deadline_s: float = 60.0) -> None:
    """Return when a command prints something that has `wanted` in it; SiteError after the deadline."""
    end = time.monotonic() + deadline_s
    while wanted not in (said := machine.run(f"{command} || true")):
        if time.monotonic() > end:
            raise SiteError(f"{command} never said {wanted!r}, but:\n{said}")
        time.sleep(0.2)
