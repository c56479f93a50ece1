"""Programs that tests need from Debian, installed if need be."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from services.processes import SiteError


def found(find: Callable[[], Path | None], package: str, what: str) -> Path:
    """What `find` finds, after the package was installed where it finds nothing. Raises SiteError."""
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
