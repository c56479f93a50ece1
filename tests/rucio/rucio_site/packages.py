"""What the site needs from Debian: PostgreSQL's server and ActiveMQ, installed if need be."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from services.processes import SiteError

ACTIVEMQ_JAR = Path("/usr/share/activemq/bin/activemq.jar")
LOCK_S = 600
"""Seconds to wait for another apt-get to end."""

installing_s = 0.0
"""Seconds spent on installing in this process."""


def postgres_bin() -> Path:
    """The directory with initdb and postgres; installed as root where missing."""
    return _found("postgresql", "PostgreSQL's server (initdb, postgres)")


def activemq_jar() -> Path:
    """ActiveMQ's start archive; installed as root where missing."""
    return _found("activemq", "ActiveMQ")


def _find_postgres() -> Path | None:
    in_path = shutil.which("initdb")
    if in_path:
        return Path(in_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


def _find_activemq() -> Path | None:
    return ACTIVEMQ_JAR if ACTIVEMQ_JAR.exists() and shutil.which("java") else None


FIND: dict[str, Callable[[], Path | None]] = {
    "postgresql": _find_postgres,
    "activemq": _find_activemq,
}


def _found(package: str, what: str) -> Path:
    path = FIND[package]()
    if path is None:
        _install([each for each, find in FIND.items() if find() is None])
        path = FIND[package]()
    if path is None:
        raise SiteError(f"{what} is not where Debian's package {package} puts it")
    return path


def _install(packages: Sequence[str]) -> None:
    global installing_s
    words = " ".join(packages)
    if os.geteuid() or not shutil.which("apt-get"):
        raise SiteError(
            f"Debian's packages {words} are missing and only root may install them: run "
            f"`apt-get install --no-install-recommends {words}` as root, then try again"
        )
    began = time.monotonic()
    install = ["install", "--yes", "--no-install-recommends", *packages]
    if _apt(*install):
        # A fresh machine has no lists of packages yet.
        _apt("update")
        problem = _apt(*install)
        if problem:
            raise SiteError(f"apt-get could not install {words}:\n{problem[-2000:]}")
    installing_s += time.monotonic() - began


def _apt(*words: str) -> str:
    """Run apt-get; what it complains about, "" if it succeeded."""
    done = subprocess.run(
        ["apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_S}", *words],
        # In runlevel 1 Debian does not start the servers it installs.
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr or f"it ended with {done.returncode}") if done.returncode else ""
