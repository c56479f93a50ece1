"""Make the three facilities' repositories for the tests, in the stack's Python.

    python seed_repositories.py DIRECTORY SCENARIO[=VISIT,...]...

DIRECTORY/FrDF has the smallest sky already. USDF becomes a copy of it, UKDF a repository that holds
visits 1001 and 1002 only. For each scenario FrDF gets outputs of a group g1, of visits 1001 to 1004 or of
those that are named; UKDF of a group g2 and USDF of a group g3 of the campaign's step `make`; g2 and g3
have data ids that g1 has too. A visit that the sky does not have becomes known at FrDF and USDF: if
just one scenario names it, no other can have brought it to UKDF.
"""

import shutil
import sys
from pathlib import Path

from lsst.daf.butler import Butler, CollectionType, DatasetType

VISITS = (1001, 1002, 1003, 1004)
TRACTS = (1, 2)


def put(butler: Butler, scenario: str, group: str, visits: tuple[int, ...]) -> None:
    """Write a group's outputs and chain them as a collect job does."""
    chain = f"out/{scenario}/make/{group}"
    run = f"{chain}/a1"
    butler.collections.register(run, CollectionType.RUN)
    with butler.transaction():
        for visit in visits:
            data_id = {"instrument": "DemoCam", "visit": visit}
            butler.put({"visit": visit, "pad": "z" * 9000}, "zp", data_id, run=run)
        if group == "g1":
            for tract in TRACTS:
                data_id = {"skymap": "demo_sky", "tract": tract}
                butler.put({"tract": tract}, "warp", data_id, run=run)
    for parent, child in (
        (chain, run),
        (f"out/{scenario}/make", chain),
        (f"out/{scenario}", f"out/{scenario}/make"),
    ):
        butler.collections.register(parent, CollectionType.CHAINED)
        butler.collections.redefine_chain(parent, [child])


def know(butler: Butler, visits: set[int]) -> None:
    """Write records of visits like the sky's first one."""
    (like,) = butler.query_dimension_records("visit", instrument="DemoCam", visit=VISITS[0])
    records = [{**like.toDict(), "id": visit, "name": f"demo_{visit}"} for visit in visits]
    butler.registry.insertDimensionData("visit", *records)


def main(directory: Path, scenarios: list[str]) -> None:
    """Do what the module's text says."""
    named = {}
    for scenario in scenarios:
        name, _, visits = scenario.partition("=")
        named[name] = tuple(int(each) for each in visits.split(",") if each) or VISITS
    shutil.copytree(directory / "FrDF", directory / "USDF")
    Butler.makeRepo(str(directory / "UKDF"))
    with (
        Butler.from_config(str(directory / "FrDF"), writeable=True) as frdf,
        Butler.from_config(str(directory / "USDF"), writeable=True) as usdf,
        Butler.from_config(str(directory / "UKDF"), writeable=True) as ukdf,
    ):
        records = directory / "two-visits.yaml"
        where = "instrument = 'DemoCam' AND visit IN (1001, 1002)"
        with frdf.export(filename=str(records)) as export:
            export.saveDataIds(frdf.registry.queryDataIds(["visit"], where=where).expanded())
        ukdf.import_(filename=str(records))
        for butler in (frdf, usdf, ukdf):
            for name, dimensions in (("zp", ["visit"]), ("warp", ["tract"])):
                if butler is ukdf and name == "warp":
                    continue
                butler.registry.registerDatasetType(
                    DatasetType(name, dimensions, "StructuredDataDict", universe=butler.dimensions)
                )
        for butler in (frdf, usdf):
            know(butler, {each for visits in named.values() for each in visits} - set(VISITS))
        for scenario, visits in named.items():
            put(frdf, scenario, "g1", visits)
            if scenario.startswith("gather"):
                put(ukdf, scenario, "g2", (1001, 1002))
                put(usdf, scenario, "g3", (1001,))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
