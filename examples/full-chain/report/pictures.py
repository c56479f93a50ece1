"""Pictures and calibration figures for the report, as one JSON file. Runs in the Rubin stack.

    python pictures.py --repo DIR --collection C [C ...] --truth truth.json --out pictures.json
    [--raws DemoCam/defaults] [--tract T] [--patch P]

The deepest patch (or the one named) in one exposure and in the coadd, with the noise of both; the
zero point of each visit minus the truth; and the number of exposures over all tracts.
What the repository does not hold is left out and named in `missing`. Exit status 0: the file
is written; 2: the repository or the truth cannot be read.
"""

import argparse
import base64
import json
import struct
import sys
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "demo" / "sky"))

import check_truth as truth_check  # noqa: E402
import layout as sky  # noqa: E402
from layout import Layout, SkySize, Visit  # noqa: E402
from lsst.daf.butler import Butler, DatasetNotFoundError  # noqa: E402

Image = NDArray[np.floating[Any]]

SOFTENING = 3.0
"""Where asinh turns from linear to logarithmic, in units of the exposure's noise."""
BRIGHTEST = 300.0
"""What is shown white, in units of the exposure's noise."""
DARKEST = -3.0
DEPTH_COLOURS = ((24, 28, 60), (38, 84, 140), (43, 145, 150), (122, 196, 120), (246, 233, 140))
COARSE = 4
"""Pixels of the sky for one pixel of the picture of all tracts."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image as PNG: (rows, columns) is grey, (rows, columns, 3) is RGB; row 0 is at the top.

    Format: PNG specification (third edition) 5.3 and 11.2: signature, IHDR, IDAT with filter type 0 in
    front of each row, IEND.
    """
    rows, columns = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    lines = np.ascontiguousarray(pixels).reshape(rows, -1)
    filtered = np.hstack([np.zeros((rows, 1), np.uint8), lines]).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(filtered, 9))
        + chunk(b"IEND", b"")
    )


def stretched(image: Image, noise: float) -> NDArray[np.uint8]:
    """Counts to grey values by asinh, the same for every image of the same `noise` (counts).

    Lupton, Gunn & Szalay 1999 (AJ 118, 1406): linear in the noise, logarithmic above. Pixels without
    data are black.
    """
    low, high = (np.arcsinh(limit / SOFTENING) for limit in (DARKEST, BRIGHTEST))
    scaled = (np.arcsinh(np.nan_to_num(image, nan=-np.inf) / noise / SOFTENING) - low) / (
        high - low
    )
    return (255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def coloured(depth: NDArray[np.uint8], deepest: int) -> NDArray[np.uint8]:
    """Numbers of exposures as colours from dark blue (few) to pale yellow (`deepest`)."""
    stops = np.array(DEPTH_COLOURS)
    place = np.clip(depth / max(1, deepest), 0, 1)
    channels = [np.interp(place, np.linspace(0, 1, len(stops)), stops[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def picture(name: str, pixels: NDArray[np.uint8], **more: Any) -> dict[str, Any]:
    """One picture as JSON, north (growing y) up."""
    rows, columns = pixels.shape[:2]
    data = base64.b64encode(png(pixels[::-1])).decode()
    return {"name": name, "width": columns, "height": rows, "png": data, **more}


def exposure(
    butler: Butler, layout: Layout, visit: Visit, box: sky.Box, raws: str
) -> tuple[Image, float]:
    """The part of one exposure that lies in a box, above its sky and scaled to the coadds' zero point,
    with its noise, all in counts; NaN where the exposure did not look."""
    found = np.full((box.y1 - box.y0, box.x1 - box.x0), np.nan)
    for detector in range(layout.size.detectors):
        seen = layout.detector_box(visit, detector)
        left, right = max(seen.x0, box.x0), min(seen.x1, box.x1)
        low, high = max(seen.y0, box.y0), min(seen.y1, box.y1)
        if left >= right or low >= high:
            continue
        data_id = {"instrument": sky.INSTRUMENT, "exposure": visit.id, "detector": detector}
        raw = butler.get("raw", data_id, collections=raws)
        found[low - box.y0 : high - box.y0, left - box.x0 : right - box.x0] = raw[
            low - seen.y0 : high - seen.y0, left - seen.x0 : right - seen.x0
        ]
    scale = 10.0 ** (0.4 * (sky.NOMINAL_ZERO_POINT - visit.zero_point))
    middle = float(np.nanmedian(found))
    return (found - middle) * scale, float(np.sqrt(visit.sky)) * scale


def pictures(
    butler: Butler, layout: Layout, collections: list[str], raws: str, where: dict[str, int | None]
) -> dict[str, Any]:
    """One patch in one exposure and in the coadd. Raises LookupError if there is no coadd to show."""
    found = {
        (ref.dataId["tract"], ref.dataId["patch"]): ref
        for collection in reversed(collections)
        for ref in truth_check.find(butler, "coadd_image", collection)
        if all(number in (None, ref.dataId[name]) for name, number in where.items())
    }
    depths = {key: expected_depth(layout, layout.patch_box(*key)) for key in found}
    if not found:
        raise LookupError("no coadd_image")
    # The deepest patch whose exposures also cover it best.
    key = max(sorted(found), key=lambda each: (int(np.median(depths[each])), depths[each].mean()))
    box, depth = layout.patch_box(*key), depths[key]
    coadd = np.asarray(butler.get(found[key]), dtype=np.float64)
    coadd = coadd - float(np.nanmedian(coadd))
    visit = max(layout.visits, key=lambda each: (covered(layout, each, box), each.zero_point))
    single, noise = exposure(butler, layout, visit, box, raws)
    _, blank = truth_check.expected_noise(layout, box, 0.0)
    deep = depth == int(np.median(depth))
    coadd_noise = truth_check.spread(coadd[blank & deep & np.isfinite(coadd)])
    single_noise = truth_check.spread(single[blank & np.isfinite(single)])
    # An exposure has whole counts: spread over their width, or they would beat with the bins.
    width = 10.0 ** (0.4 * (sky.NOMINAL_ZERO_POINT - visit.zero_point))
    smooth = single + np.random.default_rng(0).uniform(-width / 2, width / 2, single.shape)
    return {
        "tract": key[0],
        "patch": key[1],
        "pixel_arcsec": 3600 * sky.PIXEL_SCALE,
        "zero_point": sky.NOMINAL_ZERO_POINT,
        "stretch": {"softening": SOFTENING, "black": DARKEST, "white": BRIGHTEST},
        "images": [
            picture(
                "exposure", stretched(single, noise), visit=visit.id, noise=single_noise, depth=1
            ),
            picture(
                "coadd",
                stretched(coadd, noise),
                noise=coadd_noise,
                depth=int(np.median(depth)),
                gain=single_noise / coadd_noise,
            ),
        ],
        "histogram": histogram(
            {"exposure": smooth[blank], "coadd": coadd[blank & deep]}, 4.0 * single_noise
        ),
    }


def histogram(values: dict[str, Image], reach: float) -> dict[str, Any]:
    """Share of the pixels in each of 64 bins from -reach to reach (counts), for each image."""
    edges = np.linspace(-reach, reach, 65)
    shares: dict[str, Any] = {"reach": reach}
    for name, each in values.items():
        counts, _ = np.histogram(each[np.isfinite(each)], edges)
        shares[name] = [round(float(share), 5) for share in counts / max(1, counts.sum())]
    return shares


def expected_depth(layout: Layout, box: sky.Box) -> NDArray[np.uint8]:
    """How many exposures look at each pixel of a box."""
    depth = np.zeros((box.y1 - box.y0, box.x1 - box.x0), dtype=np.uint8)
    for visit in layout.visits:
        for detector in range(layout.size.detectors):
            seen = layout.detector_box(visit, detector)
            rows = slice(max(0, seen.y0 - box.y0), max(0, seen.y1 - box.y0))
            depth[rows, max(0, seen.x0 - box.x0) : max(0, seen.x1 - box.x0)] += 1
    return depth


def covered(layout: Layout, visit: Visit, box: sky.Box) -> int:
    """Pixels of a box that a visit sees."""
    seen = [layout.detector_box(visit, number) for number in range(layout.size.detectors)]
    return sum(
        max(0, min(each.x1, box.x1) - max(each.x0, box.x0))
        * max(0, min(each.y1, box.y1) - max(each.y0, box.y0))
        for each in seen
    )


def residuals(butler: Butler, layout: Layout, collections: list[str]) -> dict[str, Any]:
    """Fitted zero point minus truth for each visit, in magnitudes, the common offset taken off, with
    the one-sigma error of the fit. Raises LookupError if no visit has one."""
    truth = {visit.id: visit.zero_point for visit in layout.visits}
    for collection in collections:
        fitted = {
            entry["visit"]: entry
            for entry in (
                butler.get(ref) for ref in truth_check.find(butler, "zero_point", collection)
            )
        }
        if fitted:
            break
    else:
        raise LookupError("no zero_point")
    visits = sorted(fitted)
    covariance = truth_check.find_covariance(butler, collection, visits, fitted)
    covariance = covariance + truth_check.ERROR_FLOOR**2 * np.eye(len(visits))
    error = np.sqrt(np.diag(covariance))
    difference = np.array([fitted[visit]["zero_point"] - truth[visit] for visit in visits])
    offset = float(np.average(difference, weights=error**-2.0))
    difference -= offset
    chi2 = float(difference @ np.linalg.solve(covariance, difference))
    return {
        "visits": [
            {
                "visit": visit,
                "difference": float(difference[i]),
                "error": float(error[i]),
                "stars": int(fitted[visit]["n_stars"]),
            }
            for i, visit in enumerate(visits)
        ],
        "missing": sorted(truth.keys() - fitted.keys()),
        "offset": offset,
        "rms": float(difference.std()),
        "chi2_per_dof": chi2 / max(1, len(visits) - 1),
    }


def footprint(layout: Layout) -> dict[str, Any]:
    """The number of exposures over all tracts, as a picture, and where in it each tract lies: left and
    right end in pixels of the sky."""
    tracts = {tract: layout.tract_box(tract) for tract in layout.tracts()}
    boxes = list(tracts.values())
    whole = sky.Box(
        min(box.x0 for box in boxes),
        min(box.y0 for box in boxes),
        max(box.x1 for box in boxes),
        max(box.y1 for box in boxes),
    )
    depth = expected_depth(layout, whole)[::COARSE, ::COARSE]
    return {
        "tracts": {
            str(tract): [box.x0 - whole.x0, box.x1 - whole.x0] for tract, box in tracts.items()
        },
        "size": [whole.x1 - whole.x0, whole.y1 - whole.y0],
        "depth": picture(
            "depth",
            coloured(depth, int(depth.max())),
            least=int(depth.min()),
            most=int(depth.max()),
            mean=float(depth.mean()),
        ),
        "colours": [f"rgb{stop}" for stop in DEPTH_COLOURS],
    }


def versions() -> dict[str, str]:
    """The packages that made the numbers."""
    wanted = ("lsst-daf-butler", "lsst-pipe-base", "lsst-ctrl-mpexec", "numpy", "astropy", "sep")
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in wanted:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description="Make the pictures of a campaign's report.")
    parser.add_argument("--repo", required=True, help="the repository that holds the results")
    parser.add_argument("--collection", nargs="+", required=True, help="first match wins")
    parser.add_argument("--truth", type=Path, required=True, help="what make_sky.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--raws", default=sky.DEFAULTS, help="the collection of the exposures")
    parser.add_argument("--tract", type=int)
    parser.add_argument("--patch", type=int)
    given = parser.parse_args(arguments)
    made: dict[str, Any] = {"versions": versions(), "missing": []}
    try:
        layout = Layout(SkySize(**json.loads(given.truth.read_text())["size"]))
        made["sky"] = footprint(layout)
        with Butler.from_config(given.repo) as butler:
            for name in given.collection:
                if not butler.collections.query(name):
                    raise LookupError(f"collection {name!r} is not in {given.repo}")
            where = {"tract": given.tract, "patch": given.patch}
            for name, make in (
                ("calibration", lambda: residuals(butler, layout, given.collection)),
                (
                    "coadd",
                    lambda: pictures(butler, layout, given.collection, given.raws, where),
                ),
            ):
                try:
                    made[name] = make()
                except (LookupError, DatasetNotFoundError) as error:
                    made["missing"].append(f"{name}: {error}")
    except Exception as error:  # noqa: BLE001 - any failure to read is told in one line
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    making = given.out.with_name(given.out.name + ".new")
    making.write_text(json.dumps(made))
    making.replace(given.out)
    for line in made["missing"]:
        print(f"pictures: left out: {line}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
