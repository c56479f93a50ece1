"""Two facilities below a real Rucio, with files to be moved from one to the other."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "rucio")]

from rubin_stack import rubin_python  # noqa: E402
from rucio_site import SCOPE, Site  # noqa: E402

from cmd_daemon.hooks import FacilityInfo  # noqa: E402
from cmd_daemon.testing import facility_info  # noqa: E402

HERE, THERE = "FrDF", "UKDF"
RSES = {HERE: "FRDF_DISK", THERE: "UKDF_DISK"}
POLL_S = 1.0
"""Seconds between two looks at a rule, by the driver and by the floor alike."""


def make_places(directory: Path, files: int, scenarios: Sequence[str]) -> dict[str, Path]:
    """Make the repositories; the roots of the RSEs above them."""
    seed = Path(__file__).with_name("seed_files.py")
    subprocess.run([rubin_python(), seed, directory, str(files), *scenarios], check=True)
    roots = {}
    for facility, rse in RSES.items():
        roots[rse] = directory / "rse" / facility
        roots[rse].mkdir(parents=True)
        # The floor's tool wants the repository's own path below the root of the RSE.
        (directory / facility).rename(roots[rse] / SCOPE)
    return roots


def section(site: Site, directory: Path, rse: str, **changes: Any) -> dict[str, Any]:
    """The section `rucio` of a facility."""
    where = site.addresses
    secret = directory / "password"
    secret.write_text(where["password"])
    return {
        "server": where["url"],
        "account": where["account"],
        "username": where["username"],
        "password_file": str(secret),
        "scope": SCOPE,
        "rse": rse,
        "poll_s": POLL_S,
        **changes,
    }


def facilities(
    site: Site, directory: Path, roots: Mapping[str, Path], **changes: Any
) -> dict[str, FacilityInfo]:
    """The configuration of the two."""
    return {
        name: facility_info(
            name,
            stacks={"demo": str(rubin_python())},
            butlers={"main": str(roots[rse] / SCOPE)},
            settings={"rucio": section(site, directory, rse, **changes)},
        )
        for name, rse in RSES.items()
    }
