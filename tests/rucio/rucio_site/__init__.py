"""A real Rucio that is started from nothing and torn down again, for tests and demonstrations."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # `services` lies there

from services.processes import SiteError, until

from rucio_site.rses import DISKS, SCOPE, TAPES, add_scope
from rucio_site.site import Site

__all__ = ["DISKS", "SCOPE", "TAPES", "Site", "SiteError", "add_scope", "until"]
