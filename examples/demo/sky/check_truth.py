"""Compare the result of a demo campaign with the truth of its sky.

    python check_truth.py --repo DIR --collection C --truth truth.json [--json] [--out FILE]

Three checks: the zero points agree with the truth within their errors (a common offset is taken
off, the stars cannot fix it); every patch has its coadd; the noise of the coadds is what the number
of images predicts, falling as 1/sqrt(N). Exit status 0: all agree; 1: some do not; 2: the result or
the truth cannot be read.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import layout as sky
import numpy as np
from layout import Layout, SkySize
from lsst.daf.butler import Butler, EmptyQueryResultError, MissingDatasetTypeError
from numpy.typing import NDArray

ERROR_FLOOR = 0.0005
"""Magnitudes added to each error in quadrature: the sky level of an image is known to that only."""
PULL_LIMIT = 5.0
NOISE_TOLERANCE = 0.06
SLOPE_TOLERANCE = 0.03
MINIMUM_PIXELS = 3000


@dataclass
class Check:
    """One comparison: its name, whether it agrees, and the figures for people and for programs."""

    name: str
    ok: bool
    summary: str
    figures: dict[str, Any] = field(default_factory=dict)


def find(butler: Butler, dataset_type: str, collection: str) -> list[Any]:
    """Return the references of a dataset type in a collection; none if there are none or the type
    is unknown.
    """
    try:
        return list(
            butler.query_datasets(dataset_type, collections=collection, find_first=True, limit=None)
        )
    except (EmptyQueryResultError, MissingDatasetTypeError):
        return []


def check_zero_points(butler: Butler, collection: str, layout: Layout) -> Check:
    """Compare the zero point of each visit with the truth."""
    truth = {visit.id: visit.zero_point for visit in layout.visits}
    fitted = {
        entry["visit"]: entry
        for entry in (butler.get(ref) for ref in find(butler, "zero_point", collection))
    }
    missing = sorted(truth.keys() - fitted.keys())
    if not fitted:
        return Check(
            "zero points", False, f"none of {len(truth)} visits has one", {"missing": missing}
        )
    visits = sorted(fitted)
    difference = np.array([fitted[v]["zero_point"] - truth[v] for v in visits])
    covariance = find_covariance(butler, collection, visits, fitted) + ERROR_FLOOR**2 * np.eye(
        len(visits)
    )
    offset = float(np.average(difference, weights=1.0 / np.diag(covariance)))
    difference -= offset
    # The errors of neighbouring visits go together (they share stars), hence chi2 from the whole
    # covariance.
    chi2 = float(difference @ np.linalg.solve(covariance, difference))
    freedom = max(1, len(visits) - 1)
    limit = 1.0 + 4.0 * np.sqrt(2.0 / freedom)
    pull = difference / np.sqrt(np.diag(covariance))
    worst = int(np.argmax(np.abs(pull)))
    ok = not missing and chi2 / freedom < limit and abs(pull[worst]) < PULL_LIMIT
    summary = (
        f"{len(visits)} of {len(truth)} visits, rms difference {1000 * difference.std():.2f} mmag, "
        f"chi2/dof {chi2 / freedom:.2f} (limit {limit:.1f}), "
        f"worst {pull[worst]:+.1f} sigma (visit {visits[worst]})"
    )
    if missing:
        summary += f"; missing {missing}"
    figures = {
        "visits": len(visits),
        "expected": len(truth),
        "missing": missing,
        "chi2_per_dof": chi2 / freedom,
        "common_offset": offset,
        "rms_mmag": 1000 * float(difference.std()),
        "worst_pull": float(pull[worst]),
    }
    return Check("zero points", bool(ok), summary, figures)


def find_covariance(
    butler: Butler, collection: str, visits: list[int], fitted: dict[int, Any]
) -> NDArray[np.float64]:
    """Return the covariance of the zero points of these visits; only the variances if the fit's
    summary is not there.
    """
    for ref in find(butler, "global_calibration_summary", collection):
        summary = butler.get(ref)
        if set(visits) <= set(summary["visits"]):
            order = [summary["visits"].index(visit) for visit in visits]
            return np.array(summary["covariance"])[np.ix_(order, order)]
    return np.diag([fitted[visit]["error"] ** 2 for visit in visits])


def expected_noise(
    layout: Layout, box: sky.Box, offset: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the true noise of each pixel of a patch (0 where no visit is), and which pixels no
    star touches.

    ``offset`` (magnitudes) is the common offset of the fitted zero points: it only sets the unit of
    the coadd.
    """
    weights = np.zeros((box.y1 - box.y0, box.x1 - box.x0))
    for visit in layout.visits:
        scale = 10.0 ** (0.4 * (sky.NOMINAL_ZERO_POINT - visit.zero_point - offset))
        for detector in range(layout.size.detectors):
            seen = layout.detector_box(visit, detector)
            left, right = max(seen.x0, box.x0), min(seen.x1, box.x1)
            low, high = max(seen.y0, box.y0), min(seen.y1, box.y1)
            if left < right and low < high:
                weights[low - box.y0 : high - box.y0, left - box.x0 : right - box.x0] += 1 / (
                    visit.sky * scale**2
                )
    noise = np.divide(1.0, np.sqrt(weights), out=np.zeros_like(weights), where=weights > 0)
    blank = np.ones(weights.shape, dtype=bool)
    rows, columns = np.ogrid[box.y0 : box.y1, box.x0 : box.x1]
    for x, y, _ in layout.stars:
        if box.x0 - 12 < x < box.x1 + 12 and box.y0 - 12 < y < box.y1 + 12:
            blank &= (columns - x) ** 2 + (rows - y) ** 2 > 100
    return noise, blank


def check_coadds(butler: Butler, collection: str, layout: Layout, offset: float) -> list[Check]:
    """Compare number, depth and noise of the coadds with what the visits predict."""
    images = {
        (r.dataId["tract"], r.dataId["patch"]): r for r in find(butler, "coadd_image", collection)
    }
    depths = {
        (r.dataId["tract"], r.dataId["patch"]): r for r in find(butler, "coadd_n_image", collection)
    }
    wanted = {(tract, patch) for tract in layout.tracts() for patch in layout.patches()}
    missing = sorted(wanted - (images.keys() & depths.keys()))
    counts = Check(
        "coadds",
        not missing,
        f"{len(wanted) - len(missing)} of {len(wanted)} patches"
        + (f"; missing {missing}" if missing else ""),
        {
            "found": len(wanted) - len(missing),
            "expected": len(wanted),
            "missing": [list(key) for key in missing],
        },
    )
    normalised: dict[int, list[NDArray[np.float64]]] = {}
    values: dict[int, list[NDArray[np.float64]]] = {}
    predicted: dict[int, list[NDArray[np.float64]]] = {}
    wrong_depth = 0
    for key in sorted(wanted - set(missing)):
        image, depth = butler.get(images[key]), butler.get(depths[key])
        noise, blank = expected_noise(layout, layout.patch_box(*key), offset)
        wrong_depth += int(((depth > 0) & (noise == 0)).sum())
        for n in np.unique(depth[depth > 0]):
            here = (depth == n) & blank & (noise > 0)
            normalised.setdefault(int(n), []).append(image[here] / noise[here])
            values.setdefault(int(n), []).append(image[here].astype(np.float64))
            predicted.setdefault(int(n), []).append(noise[here])
    rows = []
    for n in sorted(normalised):
        ratios = np.concatenate(normalised[n])
        if len(ratios) < MINIMUM_PIXELS:
            continue
        rows.append(
            {
                "n": n,
                "pixels": len(ratios),
                "noise": spread(np.concatenate(values[n])),
                "predicted": float(np.sqrt(np.mean(np.concatenate(predicted[n]) ** 2))),
                "ratio": spread(ratios),
            }
        )
    if not rows:
        return [counts, Check("coadd noise", False, "no coadd to measure it on")]
    worst = max((row["ratio"] for row in rows), key=lambda ratio: abs(ratio - 1))
    # Pixels of different depth were seen by different visits, some darker than others: what each
    # visit's own noise does is divided out, and what is left must be the power law.
    slope = -0.5
    if len(rows) > 1:
        depth = np.log([row["n"] for row in rows])
        scaled = np.log([row["ratio"] for row in rows]) - 0.5 * depth
        slope = float(np.polyfit(depth, scaled, 1, w=np.sqrt([row["pixels"] for row in rows]))[0])
    ok = (
        abs(worst - 1) < NOISE_TOLERANCE and abs(slope + 0.5) < SLOPE_TOLERANCE and wrong_depth == 0
    )
    summary = (
        f"measured/predicted at worst {worst:.3f}, "
        f"falls as N^{slope:.2f} over N = {rows[0]['n']}..{rows[-1]['n']}"
    )
    if wrong_depth:
        summary += f"; {wrong_depth} pixels have data where no visit looked"
    figures = {
        "by_depth": rows,
        "slope": slope,
        "worst_ratio": worst,
    }
    return [counts, Check("coadd noise", bool(ok), summary, figures)]


def spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of what lies within four of them; counts are whole numbers,
    medians would jump.
    """
    middle = float(np.median(values))
    near = values[np.abs(values - middle) < 4.0 * values.std()]
    return float(near[np.abs(near - middle) < 4.0 * near.std()].std())


def print_table(checks: list[Check]) -> None:
    """Print the checks for people."""
    for check in checks:
        print(f"{'ok ' if check.ok else 'BAD'}  {check.name:<12} {check.summary}")
        for row in check.figures.get("by_depth", []):
            print(
                f"       {row['n']:2d} images  {row['pixels']:7d} pixels   noise {row['noise']:6.2f}   "
                f"predicted {row['predicted']:6.2f}   ratio {row['ratio']:.3f}"
            )


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(
        description="Compare a demo campaign's result with the truth of its sky."
    )
    parser.add_argument("--repo", required=True)
    parser.add_argument("--collection", required=True, help="the campaign's output collection")
    parser.add_argument("--truth", type=Path, required=True, help="what make_sky.py wrote")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the table"
    )
    parser.add_argument("--out", type=Path, help="write that object to this file, too")
    options = parser.parse_args(arguments)
    try:
        layout = Layout(SkySize(**json.loads(options.truth.read_text())["size"]))
        with Butler.from_config(options.repo) as butler:
            if not butler.collections.query(options.collection):
                raise LookupError(f"collection {options.collection!r} is not in {options.repo}")
            zero_points = check_zero_points(butler, options.collection, layout)
            offset = zero_points.figures.get("common_offset", 0.0)
            checks = [zero_points, *check_coadds(butler, options.collection, layout, offset)]
    except Exception as error:  # noqa: BLE001 - any failure to read is told in one line
        print(f"check_truth: {error}", file=sys.stderr)
        return 2
    ok = all(check.ok for check in checks)
    parts = [{"name": c.name, "ok": c.ok, "summary": c.summary, **c.figures} for c in checks]
    document = json.dumps({"ok": ok, "checks": parts})
    if options.out is not None:
        options.out.write_text(document)
    if options.json:
        print(document)
    else:
        print_table(checks)
        print(
            "The result agrees with the truth."
            if ok
            else "The result does NOT agree with the truth."
        )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
