"""More faults of the full chain, end to end; run on demand, because each takes minutes:

    python -m pytest tests/demo/chain_faults.py

A person acts in each: what `cm` says is what they go by.
"""

from pathlib import Path

import pytest
from chain_process import Chain


def file_of(chain: Chain, facility: str, dataset_type: str) -> Path:
    """A file of this dataset type at a facility."""
    root = chain.work / facility / "repo" / "DemoCam" / "runs"
    return next(path for path in root.rglob(f"*/{dataset_type}/**/*") if path.is_file())


@pytest.mark.timeout(900)
def test_a_drained_facility_and_a_file_lost_at_its_source(tmp_path: Path) -> None:
    """FrDF drained during calibrate: its groups wait and say so, the others go on. A star catalog lost at
    FrDF: the gather lists the gap and the group is held with the reason; put back and driven again,
    the campaign ends as if nothing had been. UKDF is reached through asyncssh's own server."""
    chain = Chain(tmp_path, "--stay", "--stand-in")
    try:
        chain.wait_for(lambda: bool(chain.groups("RUNNING", "inputs")), "the first groups")
        drained = chain.cm("drain", "FrDF", "--reason", "a disk is changed")
        assert drained.returncode == 0, drained.stderr
        chain.wait_for(lambda: chain.accepted_at("USDF", "calibrate"), "USDF without FrDF")
        waiting = sorted(chain.groups("PLACED", "calibrate") | chain.groups("READY", "calibrate"))
        assert waiting, "nothing waits for the drained facility"
        why = chain.cm("why", f"full-chain/{waiting[0]}")
        assert "drained" in why.stdout, why.stdout
        assert chain.cm("undrain", "FrDF").returncode == 0

        # The gather comes only after this: a paused campaign begins nothing new.
        chain.wait_for(lambda: chain.accepted_at("FrDF", "calibrate"), "FrDF again")
        chain.wait_for(lambda: bool(chain.groups("RUNNING", "star-catalog")), "star catalogs")
        chain.wait_for(lambda: "star-catalog/3" in chain.groups("ACCEPTED"), "the star catalog")
        file = file_of(chain, "FrDF", "star_catalog")
        away = tmp_path / file.name
        file.rename(away)

        chain.wait_for(lambda: bool(chain.groups("HELD", "global-calibration")), "the gap")
        why = chain.cm("why", "full-chain/global-calibration/all")
        told = " ".join(why.stdout.split())
        assert "star_catalog" in told, told
        assert "FrDF" in told, told
        nexus = chain.cm("nexus", "full-chain/global-calibration")
        assert "star_catalog" in nexus.stdout, nexus.stdout

        away.rename(file)
        driven = chain.cm("redrive", "full-chain/global-calibration")
        assert driven.returncode == 0, driven.stderr
        assert chain.end() == 0, chain.text()
    finally:
        chain.stop()
    assert "full-chain is ACCEPTED" in chain.text()
