"""Programs that tests need from Debian, installed if need be."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from services.processes import SiteError

LOCK_S = 600
"""Seconds to wait for another apt-get to end."""

Find = Callable[[], Path | None]

installing_s = 0.0
"""Seconds spent on installing in this process."""


def found(find: Find, package: str, what: str, together: Mapping[str, Find] | None = None) -> Path:
    """What `find` finds, after the package was installed where it finds nothing. The packages of
    `together` that are missing as well are installed in the same go. Raises SiteError."""
    path = find()
    if path is None:
        others = [name for name, other in (together or {}).items() if other() is None]
        _install(list(dict.fromkeys((package, *others))))
        path = find()
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
