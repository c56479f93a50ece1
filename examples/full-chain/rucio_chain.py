"""The Rucio of the full chain: the site of `tests/rucio` on the facilities' own disks.

Each facility's RSE has the facility's repository as the directory of its scope, so that files are moved
into the Butlers' datastores and taken in where they lie. Server, database and daemons live as long as the
run; files, logs and what Rucio told at the end stay in the working directory.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from running import ROOT, DemoFailed

sys.path.insert(0, str(ROOT / "tests" / "rucio"))

from rucio_site import SCOPE, Site
from rucio_site.books import datasets_below
from services.processes import SiteError

TAPE = "USDF_TAPE"
EVERY_S = 0.5
"""Seconds between two rounds of Rucio's daemons."""

SECTION = """
[facility.{name}.settings.rucio]
server = "{url}"
account = "{account}"
username = "{username}"
password_file = "{secret}"
rse = "{rse}"
scope = "{scope}"
poll_s = 5
boost_s = 5
bundle = ["star_catalog"]

[facility.{name}.settings.rucio.stomp]
host = "{stomp[host]}"
port = {stomp[port]}
destination = "{stomp[destination]}"
username = "{stomp[username]}"
password_file = "{secret}"
"""


def disk_of(facility: str) -> str:
    """The RSE of a facility's disk; names of RSEs are in capitals."""
    return f"{facility.upper()}_DISK"


class RucioOfChain:
    """The Rucio of one run in `work`, for these facilities."""

    def __init__(self, work: Path, facilities: Sequence[str]) -> None:
        self._work = work
        self._home = work / "rucio"
        self._facilities = facilities
        self._secret = self._home / "password"
        self._site: Site | None = None

    def start(self) -> None:
        """Start it; the repositories must be there. Raises DemoFailed."""
        self._home.mkdir(parents=True, exist_ok=True)
        roots = {TAPE: self._work / "USDF" / "tape"}
        for facility in self._facilities:
            root = roots[disk_of(facility)] = self._home / "rse" / facility
            root.mkdir(parents=True, exist_ok=True)
            (root / SCOPE).symlink_to(self._work / facility / "repo")
        before = os.environ.get("RUCIO_CONFIG")
        try:
            self._site = Site(self._home, roots)
            self._site.start()
            self._site.daemons.pace(EVERY_S)
        except SiteError as error:
            raise DemoFailed(f"the Rucio does not start: {error}") from error
        if before is None:
            # The daemon has only what its own configuration tells, as everywhere else.
            os.environ.pop("RUCIO_CONFIG", None)
        self._secret.touch(mode=0o600)
        self._secret.write_text(f"{self._running().addresses['password']}\n")

    def stop(self) -> None:
        """End it, if it runs."""
        if self._site is not None:
            self._site.stop()

    def section(self, facility: str) -> str:
        """What the daemon's configuration says of it at a facility."""
        where = self._running().addresses
        return SECTION.format(name=facility, secret=self._secret, rse=disk_of(facility), **where)

    def tell(self, campaign: str) -> Path:
        """Ask the server itself for all that it has of a campaign; the JSON file with the answer."""
        site = self._running()
        document = {
            "tape": TAPE,
            "disks": {each: disk_of(each) for each in self._facilities},
            "roots": {rse: str(root / SCOPE) for rse, root in site.roots.items()},
            "datasets": list(datasets_below(site.client(), f"Container/{campaign}")),
        }
        told = self._work / "rucio.json"
        told.write_text(json.dumps(document, indent=1))
        return told

    def _running(self) -> Site:
        if self._site is None:
            raise DemoFailed("the Rucio was never started")
        return self._site
