"""Add outputs for more scenarios to the three facilities' repositories, in the stack's Python.

    python seed_scenarios.py DIRECTORY SCENARIO[=VISIT,...]...

FrDF gets outputs of a group g1 of each scenario: for visits 1001 to 1004, and for those named besides.
A visit that the sky does not have becomes known at FrDF and USDF, and nowhere else: no other test can
have brought it to UKDF.
"""

import sys
from pathlib import Path

from lsst.daf.butler import Butler

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "moving"))

from seed_repositories import VISITS, put


def know(butler: Butler, visit: int) -> None:
    """Write the records of a visit like the sky's first one."""
    (like,) = butler.query_dimension_records("visit", instrument="DemoCam", visit=VISITS[0])
    values = {**like.toDict(), "id": visit, "name": f"demo_{visit}"}
    butler.registry.insertDimensionData("visit", values, skip_existing=True)


def main(directory: Path, scenarios: list[str]) -> None:
    """Do what the module's text says."""
    with (
        Butler.from_config(str(directory / "FrDF"), writeable=True) as frdf,
        Butler.from_config(str(directory / "USDF"), writeable=True) as usdf,
    ):
        for scenario in scenarios:
            name, _, more = scenario.partition("=")
            visits = [int(each) for each in more.split(",") if each]
            for visit in visits:
                know(frdf, visit)
                know(usdf, visit)
            put(frdf, name, "g1", (*VISITS, *visits))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
