"""Calibrate one image: take the sky away, detect the stars and measure their fluxes."""

from typing import Any

import lsst.pex.config as pex_config
import lsst.pipe.base as pipe_base
import numpy as np
import sep
from astropy.table import Table
from lsst.pipe.base import connectionTypes
from numpy.typing import NDArray

from demo_pipe.faults import FaultConfig, apply_faults


class CalibrateConnections(
    pipe_base.PipelineTaskConnections, dimensions=("instrument", "visit", "detector")
):
    """What goes in and out."""

    raw = connectionTypes.Input(
        doc="Counts of one detector.",
        name="raw",
        storageClass="NumpyArray",
        dimensions=("instrument", "exposure", "detector"),
    )
    camera = connectionTypes.PrerequisiteInput(
        doc="Where the detectors are on the focal plane.",
        name="camera",
        storageClass="StructuredDataDict",
        dimensions=("instrument",),
    )
    pointing = connectionTypes.PrerequisiteInput(
        doc="Where the visit points.",
        name="visit_pointing",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "visit"),
    )
    image = connectionTypes.Output(
        doc="Counts above the sky (float32).",
        name="calibrated_image",
        storageClass="NumpyArray",
        dimensions=("instrument", "visit", "detector"),
    )
    stars = connectionTypes.Output(
        doc="Stars of the image: x, y (pixels of the sky grid), flux, flux_err (counts); the "
        "table's meta has the image's origin and sky noise.",
        name="calibrated_stars",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
    )


class CalibrateConfig(pipe_base.PipelineTaskConfig, pipelineConnections=CalibrateConnections):
    """How stars are found and measured."""

    threshold = pex_config.Field(
        dtype=float, default=5.0, doc="Detection threshold in units of the sky noise."
    )
    apertureRadius = pex_config.Field(
        dtype=float,
        default=8.0,
        doc="Radius in pixels; wide enough to hold all light of any seeing of this sky.",
    )
    minimumStars = pex_config.Field(
        dtype=int, default=3, doc="An image with fewer measured stars is a failure."
    )
    faults = pex_config.ConfigField(dtype=FaultConfig, doc="Faults to play.")


class CalibrateTask(pipe_base.PipelineTask):
    """Detect and measure stars with sep."""

    ConfigClass = CalibrateConfig
    _DefaultName = "calibrate"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        data_id = butlerQC.quantum.dataId
        apply_faults(
            self.config.faults, {"visit": data_id["visit"], "detector": data_id["detector"]}
        )
        inputs = butlerQC.get(inputRefs)
        camera, pointing = inputs["camera"], inputs["pointing"]
        offset = camera["offsets"][data_id["detector"]]
        origin = (pointing["origin"][0] + offset[0], pointing["origin"][1] + offset[1])
        result = self.run(inputs["raw"], origin)
        if len(result.stars) < self.config.minimumStars:
            raise RuntimeError(
                f"Too few stars for photometry: found {len(result.stars)}, "
                f"at least {self.config.minimumStars} needed "
                f"(visit {data_id['visit']}, detector {data_id['detector']})"
            )
        butlerQC.put(result, outputRefs)

    def run(self, raw: NDArray[np.uint16], origin: tuple[int, int]) -> pipe_base.Struct:
        """Take the sky away and measure the stars.

        Parameters
        ----------
        raw
            Counts, gain 1.
        origin
            Pixel of the sky grid that is the image's lower corner.

        Returns
        -------
        Struct with ``image`` (counts above the sky, float32) and ``stars`` (table, see the
        connection).
        """
        radius = self.config.apertureRadius
        image = np.ascontiguousarray(raw, dtype=np.float32)
        first = sep.Background(image)
        image -= np.float32(first.globalback)
        found = sep.extract(image, self.config.threshold, err=first.globalrms, minarea=5)

        # sep's mesh follows the stars a little; the mean of what is left when all stars are masked
        # does not.
        mask = np.zeros(image.shape, dtype=bool)
        sep.mask_ellipse(mask, found["x"], found["y"], 1.0, 1.0, 0.0, r=radius + 2.0)
        blank = image[~mask]
        blank = blank[np.abs(blank) < 4.0 * first.globalrms]
        image -= np.float32(blank.mean(dtype=np.float64))
        sky_noise = float(blank.std(dtype=np.float64))

        rows, columns = image.shape
        inside = (
            (found["x"] > radius)
            & (found["x"] < columns - 1 - radius)
            & (found["y"] > radius)
            & (found["y"] < rows - 1 - radius)
        )
        x, y = found["x"][inside], found["y"][inside]
        flux, _, _ = sep.sum_circle(image, x, y, radius, subpix=5)
        variance = np.maximum(flux, 0.0) + np.pi * radius**2 * sky_noise**2
        stars = Table(
            {
                "x": (x + origin[0]).astype(np.float64),
                "y": (y + origin[1]).astype(np.float64),
                "flux": flux.astype(np.float64),
                "flux_err": np.sqrt(variance),
            },
            meta={"x0": int(origin[0]), "y0": int(origin[1]), "sky_noise": sky_noise},
        )
        stars = stars[stars["flux"] > 0]
        self.log.info(
            "Measured %d of %d detected stars, sky noise %.2f", len(stars), len(found), sky_noise
        )
        return pipe_base.Struct(image=image, stars=stars)
