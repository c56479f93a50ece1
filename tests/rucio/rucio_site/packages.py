"""What the site needs from Debian: PostgreSQL's server and ActiveMQ, installed if need be."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from services.processes import SiteError

ACTIVEMQ_JAR = Path("/usr/share/activemq/bin/activemq.jar")


def postgres_bin() -> Path:
    """The directory with initdb and postgres; installed as root where missing."""
    return _found(_find_postgres, "postgresql", "PostgreSQL's server (initdb, postgres)")


def activemq_jar() -> Path:
    """ActiveMQ's start archive; installed as root where missing."""
    return _found(_find_activemq, "activemq", "ActiveMQ")


def _find_postgres() -> Path | None:
    in_path = shutil.which("initdb")
    if in_path:
        return Path(in_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else None


def _find_activemq() -> Path | None:
    return ACTIVEMQ_JAR if ACTIVEMQ_JAR.exists() and shutil.which("java") else None


def _found(find: Callable[[], Path | None], package: str, what: str) -> Path:
    path = find()
    if path is None:
        _install(package, what)
        path = find()
    if path is None:
        raise SiteError(f"{what} is not where Debian's package {package} puts it")
    return path


def _install(package: str, what: str) -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        raise SiteError(
            f"{what} is missing and only root may install it: run "
            f"`apt-get install --no-install-recommends {package}` as root, then try again"
        )
    install = ["install", "--yes", "--no-install-recommends", package]
    if _apt(*install):
        # A fresh machine has no lists of packages yet.
        _apt("update")
        problem = _apt(*install)
        if problem:
            raise SiteError(f"apt-get could not install {package}:\n{problem[-2000:]}")


def _apt(*words: str) -> str:
    """Run apt-get; what it complains about, "" if it succeeded."""
    done = subprocess.run(
        ["apt-get", *words],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr or f"it ended with {done.returncode}") if done.returncode else ""
