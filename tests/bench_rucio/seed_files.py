"""Make the repositories of the bench, in the stack's Python.

    python seed_files.py DIRECTORY FILES SCENARIO...

DIRECTORY/FrDF gets FILES datasets of one type for each scenario, of visits that no other scenario
has; DIRECTORY/UKDF is a repository that knows the type and the camera, but none of them.
"""

import sys
from pathlib import Path
from uuid import uuid4

from lsst.daf.butler import (
    Butler,
    CollectionType,
    DatasetRef,
    DatasetType,
    FileDataset,
    Timespan,
)
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

INSTRUMENT = "BenchCam"
DETECTORS = 100
TYPE = "task_metadata"
BYTES = 9000
"""A usual size of a task's metadata."""
CORNERS = ((10.0, 0.0), (11.0, 0.0), (11.0, 1.0), (10.0, 1.0))
REGION = ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*each)) for each in CORNERS])


def dimensions(butler: Butler) -> None:
    """The records that no visit has to bring."""
    insert = butler.registry.insertDimensionData
    camera = {"instrument": INSTRUMENT}
    insert("instrument", {"name": INSTRUMENT, "visit_max": 10**6, "exposure_max": 10**6,
                          "detector_max": DETECTORS, "visit_system": 0, "class_name": ""})  # fmt: skip
    insert("day_obs", {**camera, "id": 20260101})
    insert("physical_filter", {**camera, "name": "r_bench", "band": "r"})
    insert("detector", *({**camera, "id": n, "full_name": f"D{n}"} for n in range(DETECTORS)))


def put(butler: Butler, scenario: str, first: int, files: int, spool: Path) -> None:
    """A group's outputs with the chains that a collect job makes, and the visits they are of."""
    kind = butler.get_dataset_type(TYPE)
    visits = range(first, first + -(-files // DETECTORS))
    camera = {"instrument": INSTRUMENT}
    for visit in visits:
        record = {
            **camera,
            "id": visit,
            "name": str(visit),
            "day_obs": 20260101,
            "physical_filter": "r_bench",
            "timespan": Timespan(None, None),
            "region": REGION,
        }
        butler.registry.insertDimensionData("visit", record)
        # Without their regions the floor's tool finds no dataset.
        regions = [
            {**camera, "visit": visit, "detector": n, "region": REGION} for n in range(DETECTORS)
        ]
        butler.registry.insertDimensionData("visit_detector_region", *regions)
    chain = f"out/{scenario}/make/g1"
    run = f"{chain}/a1"
    butler.collections.register(run, CollectionType.RUN)
    made = []
    for number in range(files):
        visit, detector = visits[number // DETECTORS], number % DETECTORS
        data_id = butler.registry.expandDataId(**camera, visit=visit, detector=detector)
        file = spool / f"{uuid4()}.yaml"
        file.write_text(f"quantum: {uuid4()}\npad: {'m' * BYTES}\n")
        made.append(FileDataset(path=str(file), refs=[DatasetRef(kind, data_id, run)]))
    butler.ingest(*made, transfer="move")
    for parent, child in (
        (chain, run),
        (f"out/{scenario}/make", chain),
        (f"out/{scenario}", f"out/{scenario}/make"),
    ):
        butler.collections.register(parent, CollectionType.CHAINED)
        butler.collections.redefine_chain(parent, [child])


def main(directory: Path, files: int, scenarios: list[str]) -> None:
    """Do what the module's text says."""
    for facility in ("FrDF", "UKDF"):
        Butler.makeRepo(str(directory / facility))
    spool = directory / "spool"
    spool.mkdir()
    with (
        Butler.from_config(str(directory / "FrDF"), writeable=True) as butler,
        Butler.from_config(str(directory / "UKDF"), writeable=True) as receiver,
    ):
        for each in (butler, receiver):  # else the first to bring something would pay for all
            dimensions(each)
            each.registry.registerDatasetType(
                DatasetType(
                    TYPE, ["visit", "detector"], "StructuredDataDict", universe=each.dimensions
                )
            )
        for number, scenario in enumerate(scenarios):
            put(butler, scenario, 10_000 * (number + 1), files, spool)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
