"""Make the demo's Butler repository: a small simulated survey whose truth is known.

    python make_sky.py --repo DIR [--tracts 3] [--visits 12] [--detectors 4] [--seed 2026] [--small]
    [--raws-of-tracts 3,4] [--truth FILE]

Run it with the Python of the Rubin stack. A finished repository of the same size is left alone;
what an interrupted run left behind is made anew. With `--raws-of-tracts` the repository is that of a
facility which received a part of the survey only: it knows all tracts, and of the visits those that
touch the given ones, with their images. Images and their UUIDs are the same in every repository of
the same sky. Exit status 0: the repository is there and
complete; 1: it could not be made (the message says why).
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import layout as sky
import numpy as np
from layout import Box, Layout, SkySize, Visit
from lsst.daf.butler import (
    Butler,
    CollectionType,
    DatasetIdGenEnum,
    DatasetRef,
    DatasetType,
    Timespan,
)
from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d
from numpy.typing import NDArray

MARKER = "sky.json"
SMALL = SkySize(tracts=2, visits=4, detectors=2, detector_size=160)


class SkyError(Exception):
    """The sky cannot be made; the message tells a person why and what to do."""


def region(box: Box) -> ConvexPolygon:
    """Return a pixel box as a region on the sphere."""
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(*corner)) for corner in box.corners()])


def simulate(layout: Layout, visit: Visit, detector: int) -> NDArray[np.uint16]:
    """Return the counts of one detector in one visit: Gaussian stars on a flat sky, with photon
    noise (gain 1).

    The random numbers depend on the seed, the visit and the detector only, so that any part of the
    sky can be made alone.
    """
    box = layout.detector_box(visit, detector)
    side = layout.size.detector_size
    image = np.full((side, side), visit.sky)
    reach = 10
    for x, y, magnitude in layout.stars:
        if not (box.x0 - reach < x < box.x1 + reach and box.y0 - reach < y < box.y1 + reach):
            continue
        flux = 10.0 ** (-0.4 * (magnitude - visit.zero_point))
        centre_x, centre_y = x - box.x0, y - box.y0
        left, right = max(0, int(centre_x) - reach), min(side, int(centre_x) + reach + 1)
        low, high = max(0, int(centre_y) - reach), min(side, int(centre_y) + reach + 1)
        if left >= right or low >= high:
            continue
        two_variance = 2.0 * visit.psf_sigma**2
        profile_x = np.exp(-((np.arange(left, right) - centre_x) ** 2) / two_variance)
        profile_y = np.exp(-((np.arange(low, high) - centre_y) ** 2) / two_variance)
        image[low:high, left:right] += (
            flux / (np.pi * two_variance) * np.outer(profile_y, profile_x)
        )
    rng = np.random.default_rng([layout.size.seed, visit.id, detector])
    return np.minimum(rng.poisson(image), 65535).astype(np.uint16)


def insert_dimensions(butler: Butler, layout: Layout, held: Sequence[Visit]) -> None:
    """Write the dimension records: camera, sky map, and each visit held here with its regions."""
    insert = butler.registry.insertDimensionData
    size = layout.size
    instrument = {"instrument": sky.INSTRUMENT}
    insert(
        "instrument",
        {
            "name": sky.INSTRUMENT,
            "visit_max": 10_000,
            "exposure_max": 10_000,
            "detector_max": size.detectors,
            "visit_system": 0,
            "class_name": "",
        },
    )
    insert("day_obs", {**instrument, "id": sky.DAY_OBS})
    insert("physical_filter", {**instrument, "name": sky.PHYSICAL_FILTER, "band": sky.BAND})
    insert(
        "detector",
        *(
            {
                **instrument,
                "id": n,
                "full_name": f"D{n}",
                "name_in_raft": f"D{n}",
                "raft": "R",
                "purpose": "SCIENCE",
            }
            for n in range(size.detectors)
        ),
    )
    insert("visit_system", {**instrument, "id": 0, "name": "one-to-one"})
    insert(
        "skymap",
        {
            "name": sky.SKYMAP,
            "hash": f"{sky.SKYMAP}-{size.tracts}-{layout.tract_width}-{layout.tract_height}".encode(),
            "tract_max": sky.FIRST_TRACT + size.tracts,
            "patch_nx_max": sky.PATCHES_PER_SIDE,
            "patch_ny_max": sky.PATCHES_PER_SIDE,
        },
    )
    skymap = {"skymap": sky.SKYMAP}
    insert(
        "tract",
        *(
            {**skymap, "id": tract, "region": region(layout.tract_box(tract))}
            for tract in layout.tracts()
        ),
    )
    insert(
        "patch",
        *(
            {
                **skymap,
                "tract": tract,
                "id": patch,
                "cell_x": patch % sky.PATCHES_PER_SIDE,
                "cell_y": patch // sky.PATCHES_PER_SIDE,
                "region": region(layout.patch_box(tract, patch)),
            }
            for tract in layout.tracts()
            for patch in layout.patches()
        ),
    )
    insert_visits(butler, layout, held)


def insert_visits(butler: Butler, layout: Layout, held: Sequence[Visit]) -> None:
    """Write the records of groups, exposures and visits; one visit is one exposure."""
    insert = butler.registry.insertDimensionData
    instrument = {"instrument": sky.INSTRUMENT}
    observed = {
        **instrument,
        "day_obs": sky.DAY_OBS,
        "physical_filter": sky.PHYSICAL_FILTER,
        "exposure_time": sky.EXPOSURE_TIME,
        "target_name": "strip",
        "observation_reason": "science",
        "science_program": "demo",
        "azimuth": 180.0,
        "zenith_angle": 30.0,
        "timespan": Timespan(None, None),
    }
    numbered = [pair for pair in enumerate(layout.visits, 1) if pair[1] in held]
    insert("group", *({**instrument, "name": f"g{visit.id}"} for visit in held))
    insert(
        "exposure",
        *(
            {
                **observed,
                "id": visit.id,
                "obs_id": f"demo_{visit.id}",
                "group": f"g{visit.id}",
                "dark_time": sky.EXPOSURE_TIME,
                "observation_type": "science",
                "seq_num": number,
                "seq_start": number,
                "seq_end": number,
                "tracking_ra": layout.visit_box(visit).corners()[0][0],
                "tracking_dec": layout.visit_box(visit).corners()[0][1],
                "sky_angle": 0.0,
                "has_simulated": True,
                "can_see_sky": True,
            }
            for number, visit in numbered
        ),
    )
    insert(
        "visit",
        *(
            {
                **observed,
                "id": visit.id,
                "name": f"demo_{visit.id}",
                "seq_num": number,
                "region": region(layout.visit_box(visit)),
            }
            for number, visit in numbered
        ),
    )
    insert(
        "visit_definition",
        *({**instrument, "visit": v.id, "exposure": v.id} for v in held),
    )
    insert(
        "visit_system_membership",
        *({**instrument, "visit": v.id, "visit_system": 0} for v in held),
    )
    insert(
        "visit_detector_region",
        *(
            {
                **instrument,
                "visit": visit.id,
                "detector": detector,
                "region": region(layout.detector_box(visit, detector)),
            }
            for visit in held
            for detector in range(layout.size.detectors)
        ),
    )


def insert_datasets(butler: Butler, layout: Layout, held: Sequence[Visit]) -> None:
    """Write the images of the visits held here and what describes them, and chain their runs to the
    collection of the default inputs.
    """
    universe = butler.dimensions
    for name, dimensions, storage_class in (
        ("raw", ("instrument", "exposure", "detector"), "NumpyArray"),
        ("camera", ("instrument",), "StructuredDataDict"),
        ("visit_pointing", ("instrument", "visit"), "StructuredDataDict"),
        ("sky_map", ("skymap",), "StructuredDataDict"),
    ):
        butler.registry.registerDatasetType(
            DatasetType(name, dimensions, storage_class, universe=universe)
        )
    for run in (sky.RAW_RUN, sky.CALIB_RUN, sky.SKYMAP_RUN):
        butler.collections.register(run, CollectionType.RUN)
    butler.collections.register(sky.DEFAULTS, CollectionType.CHAINED)
    butler.collections.redefine_chain(sky.DEFAULTS, [sky.RAW_RUN, sky.CALIB_RUN, sky.SKYMAP_RUN])

    size = layout.size
    with butler.transaction():
        camera = {
            "detector_size": size.detector_size,
            "offsets": {n: list(layout.detector_offset(n)) for n in range(size.detectors)},
        }
        put(butler, camera, "camera", sky.CALIB_RUN, instrument=sky.INSTRUMENT)
        sky_map = {
            "tracts": {
                tract: {
                    "box": list(asdict(layout.tract_box(tract)).values()),
                    "patches": {
                        n: list(asdict(layout.patch_box(tract, n)).values())
                        for n in layout.patches()
                    },
                }
                for tract in layout.tracts()
            }
        }
        put(butler, sky_map, "sky_map", sky.SKYMAP_RUN, skymap=sky.SKYMAP)
        for visit in held:
            data_id = {"instrument": sky.INSTRUMENT, "visit": visit.id}
            pointing = {"origin": list(visit.origin)}
            put(butler, pointing, "visit_pointing", sky.CALIB_RUN, **data_id)
            for detector in range(size.detectors):
                data_id = {"instrument": sky.INSTRUMENT, "exposure": visit.id, "detector": detector}
                put(butler, simulate(layout, visit, detector), "raw", sky.RAW_RUN, **data_id)


def put(butler: Butler, value: object, name: str, run: str, **data_id: Any) -> None:
    """Write one dataset under the UUID that follows from its type, data id and run."""
    dataset_type = butler.get_dataset_type(name)
    ref = DatasetRef(
        dataset_type,
        butler.registry.expandDataId(data_id, dimensions=dataset_type.dimensions),
        run,
        id_generation_mode=DatasetIdGenEnum.DATAID_TYPE_RUN,
    )
    butler.put(value, ref)


def visits_of(layout: Layout, tracts: Sequence[int]) -> list[Visit]:
    """The visits that touch any of these tracts; all if none are given."""
    boxes = [layout.tract_box(tract) for tract in tracts]
    return [
        visit
        for visit in layout.visits
        if not boxes or any(layout.visit_box(visit).touches(box) for box in boxes)
    ]


def make(repo: Path, size: SkySize, truth_file: Path, tracts: Sequence[int] = ()) -> bool:
    """Make the repository and its truth; return whether anything had to be done.

    The repository is built under another name and moved to its own as the last act, hence it is
    complete when it is there.

    Raises
    ------
    SkyError
        If there is something else at that place, a sky of another size, or no such tract.
    """
    layout = Layout(size)
    unknown = sorted(set(tracts) - set(layout.tracts()))
    if unknown:
        raise SkyError(f"this sky has no tract {unknown[0]}: it has {layout.size.tracts}")
    made_of = asdict(size) | ({"raws_of_tracts": sorted(tracts)} if tracts else {})
    truth = json.dumps(layout.truth(), indent=1)
    if repo.exists():
        marker = repo / MARKER
        if not marker.is_file():
            raise SkyError(
                f"{repo} exists and is not a demo sky; choose another directory or remove it"
            )
        found = json.loads(marker.read_text())
        if found != made_of:
            raise SkyError(
                f"{repo} holds a sky of another size ({found}); remove it or choose another directory"
            )
        if not truth_file.is_file():
            truth_file.write_text(truth)
        return False
    # Butler takes what follows a dot in the name for a file format.
    making = repo.with_name("making-" + repo.name.replace(".", "-"))
    if making.exists():
        shutil.rmtree(making)
    repo.parent.mkdir(parents=True, exist_ok=True)
    Butler.makeRepo(str(making))
    with Butler.from_config(str(making), writeable=True) as butler:
        held = visits_of(layout, tracts)
        insert_dimensions(butler, layout, held)
        insert_datasets(butler, layout, held)
    truth_file.write_text(truth)
    (making / MARKER).write_text(json.dumps(made_of))
    making.rename(repo)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(
        description="Make the demo's Butler repository with a simulated sky."
    )
    parser.add_argument("--repo", type=Path, required=True, help="the repository to make")
    parser.add_argument(
        "--truth",
        type=Path,
        help="where the truth goes (default: truth.json beside the repository)",
    )
    parser.add_argument(
        "--small", action="store_true", help="the smallest sky that works, for tests"
    )
    for name in ("tracts", "visits", "detectors", "seed"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument(
        "--raws-of-tracts",
        default="",
        metavar="TRACTS",
        help="only the visits that touch these tracts, for example 3,4 (default: all visits)",
    )
    options = parser.parse_args(arguments)
    base = SMALL if options.small else SkySize()
    given = {
        name: getattr(options, name)
        for name in ("tracts", "visits", "detectors", "seed")
        if getattr(options, name) is not None
    }
    # More tracts without a word on visits: as many visits per tract as the default sky has.
    if "tracts" in given and "visits" not in given:
        given["visits"] = given["tracts"] * base.visits // base.tracts
    repo = options.repo.absolute()
    truth = options.truth or repo.parent / "truth.json"
    try:
        size = SkySize(**{**asdict(base), **given})
        tracts = [int(tract) for tract in options.raws_of_tracts.split(",") if tract]
        made = make(repo, size, truth, tracts)
    except (SkyError, ValueError, OSError) as error:
        print(f"make_sky: {error}", file=sys.stderr)
        return 1
    visits = len(visits_of(Layout(size), tracts))
    images = visits * size.detectors
    state = "made" if made else "was there already"
    print(f"{repo}: {size.tracts} tracts, {visits} visits, {images} images, {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
