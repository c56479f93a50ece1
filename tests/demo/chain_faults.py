"""Faults of the full chain that a person mends, end to end; run on demand, because each takes minutes:

    python -m pytest tests/demo/chain_faults.py

A person acts in each: what `cm` says is what they go by.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from chain_process import Chain
from demo_process import ROOT

from cmd_local.moving.manifest import manifest_id

RUBIN = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
ARRIVING = ".arriving"


def file_of(chain: Chain, facility: str, dataset_type: str) -> Path:
    """A file of this dataset type at a facility."""
    root = chain.work / facility / "repo" / "DemoCam" / "runs"
    return next(path for path in root.rglob(f"*/{dataset_type}/**/*") if path.is_file())


UUIDS = """
import json, sys
from lsst.daf.butler import Butler
butler = Butler.from_config(sys.argv[1])
refs = butler.query_datasets(sys.argv[2], sys.argv[3], limit=None)
print(json.dumps({butler.getURI(ref).ospath: str(ref.id) for ref in refs}))
"""


def part_of(chain: Chain, facility: str, tract: int) -> Path:
    """Where at USDF a tract's star catalog is written while the gather brings it from a facility."""
    words = [chain.work / facility / "repo", "star_catalog", "DemoCam/runs/full-chain"]
    told = subprocess.run(
        [RUBIN, "-c", UUIDS, *words], capture_output=True, text=True, check=True
    ).stdout
    found = [(Path(file), uuid) for file, uuid in json.loads(told).items()]
    (name,) = [
        f"{uuid}-{file.name[-150:]}.part" for file, uuid in found if f"/{tract}/a" in str(file)
    ]
    landing = manifest_id("full-chain", "global-calibration", "all", "gather")
    place = chain.work / "USDF" / "repo" / ARRIVING / landing
    place.mkdir(parents=True, exist_ok=True)
    return place / name


@pytest.mark.timeout(900)
def test_a_drained_facility_a_full_disk_a_corrupted_file_and_a_lost_one(tmp_path: Path) -> None:
    """FrDF drained during calibrate: what runs goes on, the next step waits and says why, the others
    go on. USDF's disk full for one star catalog, another one corrupted on the way: sent again. One
    lost at FrDF: the gather lists the gap and the group is held with the reason; put back and driven
    again, the campaign ends as if nothing had been. UKDF is reached through asyncssh's own server."""
    chain = Chain(tmp_path, "--stay", "--stand-in")
    try:
        chain.wait_for(lambda: chain.started("FrDF", "calibrate"), "calibrate at FrDF")
        drained = chain.cm("drain", "FrDF", "--reason", "a disk is changed")
        assert drained.returncode == 0, drained.stderr
        chain.wait_for(lambda: chain.accepted_at("USDF", "star-catalog"), "USDF without FrDF")
        chain.wait_for(lambda: chain.accepted_at("UKDF", "star-catalog"), "UKDF without FrDF")
        assert chain.accepted_at("FrDF", "calibrate"), "what ran there was not left to run"
        why = chain.cm("why", "full-chain/star-catalog/3")
        assert "drained" in why.stdout, why.stdout

        # The gather is done at USDF: it begins when that takes work again.
        assert chain.cm("drain", "USDF", "--reason", "the test looks first").returncode == 0
        assert chain.cm("undrain", "FrDF").returncode == 0
        chain.wait_for(lambda: len(chain.groups("ACCEPTED", "star-catalog")) == 6, "FrDF again")
        file = file_of(chain, "FrDF", "star_catalog")
        away = tmp_path / file.name
        file.rename(away)
        # A name that leads to /dev/full takes no byte: the kernel itself says that there is no room.
        part_of(chain, "FrDF", 4).symlink_to("/dev/full")
        # A transfer goes on where it stopped: what is there of the file has wrong bytes.
        part_of(chain, "UKDF", 5).write_bytes(b"corrupted")
        assert chain.cm("undrain", "USDF").returncode == 0

        chain.wait_for(lambda: bool(chain.groups("HELD", "global-calibration")), "the gap")
        why = chain.cm("why", "full-chain/global-calibration/all")
        told = " ".join(why.stdout.split())
        assert "star_catalog" in told, told
        assert "FrDF" in told, told
        tries = chain.cm("attempts", "full-chain/global-calibration/all/gather-transfer")
        assert "no space left at USDF" in " ".join(tries.stdout.split()), tries.stdout
        nexus = chain.cm("nexus", "full-chain/global-calibration")
        assert "star_catalog" in nexus.stdout, nexus.stdout

        away.rename(file)
        driven = chain.cm("redrive", "full-chain/global-calibration")
        assert driven.returncode == 0, driven.stderr
        assert chain.end() == 0, chain.text()
    finally:
        chain.stop()
    assert "full-chain is ACCEPTED" in chain.text()
