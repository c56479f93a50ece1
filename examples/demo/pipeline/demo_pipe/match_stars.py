"""Match the stars of all visits of a tract."""

from typing import Any

import lsst.pex.config as pex_config
import lsst.pipe.base as pipe_base
import numpy as np
from astropy.table import Table, vstack
from lsst.pipe.base import connectionTypes
from numpy.typing import NDArray

STARS_PER_TRACT_MAX = 10_000_000
"""Star ids are ``tract * STARS_PER_TRACT_MAX + number``."""


class MatchStarsConnections(
    pipe_base.PipelineTaskConnections, dimensions=("instrument", "skymap", "tract")
):
    """What goes in and out."""

    sky_map = connectionTypes.PrerequisiteInput(
        doc="Pixel boxes of tracts and patches.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    stars = connectionTypes.Input(
        doc="Stars of all images that touch the tract.",
        name="calibrated_stars",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
    )
    catalog = connectionTypes.Output(
        doc="One row per measurement of a star that was seen at least twice: "
        "star, visit, detector, x, y, flux, flux_err.",
        name="star_catalog",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "skymap", "tract"),
    )


class MatchStarsConfig(pipe_base.PipelineTaskConfig, pipelineConnections=MatchStarsConnections):
    """How stars are matched."""

    matchRadius = pex_config.Field(
        dtype=float, default=2.0, doc="Largest distance in pixels of two sights of one star."
    )


class MatchStarsTask(pipe_base.PipelineTask):
    """Match stars by position."""

    ConfigClass = MatchStarsConfig
    _DefaultName = "matchStars"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        tract = butlerQC.quantum.dataId["tract"]
        tables = []
        for ref in sorted(
            inputRefs.stars, key=lambda ref: (ref.dataId["visit"], ref.dataId["detector"])
        ):
            table = butlerQC.get(ref)
            table.meta.clear()
            table["visit"] = ref.dataId["visit"]
            table["detector"] = ref.dataId["detector"]
            tables.append(table)
        box = butlerQC.get(inputRefs.sky_map)["tracts"][tract]["box"]
        butlerQC.put(self.run(tables, box, tract), outputRefs)

    def run(self, tables: list[Table], box: list[int], tract: int) -> pipe_base.Struct:
        """Match the stars of several images inside a tract.

        Parameters
        ----------
        tables
            Stars of each image with columns x, y, flux, flux_err, visit, detector.
        box
            x0, y0, x1, y1 of the tract; a star belongs to the one tract that its position is in.
        tract
            The tract's id; part of the star ids.

        Returns
        -------
        Struct with ``catalog`` (table, see the connection); stars seen once are left out, they
        constrain nothing.
        """
        sights = vstack(tables)
        x, y = np.asarray(sights["x"]), np.asarray(sights["y"])
        sights = sights[(x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])]
        numbers = match_positions(
            np.column_stack([sights["x"], sights["y"]]), self.config.matchRadius
        )
        sights["star"] = tract * STARS_PER_TRACT_MAX + numbers
        times_seen = np.bincount(numbers)
        catalog = sights[times_seen[numbers] > 1] if len(sights) else sights
        self.log.info(
            "Matched %d stars from %d images in tract %d",
            int((times_seen > 1).sum()),
            len(tables),
            tract,
        )
        return pipe_base.Struct(
            catalog=catalog["star", "visit", "detector", "x", "y", "flux", "flux_err"]
        )


def match_positions(positions: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Number the stars that a list of positions (n x 2, pixels) shows.

    A position within ``radius`` of the first sight of a star is that star; else it is a new one.
    Positions of the demo scatter by a tenth of a pixel and stars are 18 pixels apart, hence the
    order does not matter.
    """
    numbers = np.empty(len(positions), dtype=np.int64)
    stars = np.empty((len(positions), 2))
    count = 0
    for index, position in enumerate(positions):
        distances = np.sum((stars[:count] - position) ** 2, axis=1)
        if count and distances.min() <= radius**2:
            numbers[index] = int(distances.argmin())
        else:
            stars[count] = position
            numbers[index] = count
            count += 1
    return numbers
