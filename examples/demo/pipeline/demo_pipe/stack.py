"""Scale the images of a patch to one zero point and stack them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import lsst.pex.config as pex_config
import lsst.pipe.base as pipe_base
import numpy as np
from lsst.pipe.base import connectionTypes
from numpy.typing import NDArray


class StackConnections(
    pipe_base.PipelineTaskConnections, dimensions=("instrument", "skymap", "tract", "patch")
):
    """What goes in and out."""

    sky_map = connectionTypes.PrerequisiteInput(
        doc="Pixel boxes of tracts and patches.",
        name="sky_map",
        storageClass="StructuredDataDict",
        dimensions=("skymap",),
    )
    images = connectionTypes.Input(
        doc="Images that touch the patch.",
        name="calibrated_image",
        storageClass="NumpyArray",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    stars = connectionTypes.Input(
        doc="Star tables of the same images, for the origin and the sky noise in their meta.",
        name="calibrated_stars",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "visit", "detector"),
        multiple=True,
        deferLoad=True,
    )
    zero_points = connectionTypes.Input(
        doc="Zero points of the visits; an image of a visit without one is not used.",
        name="zero_point",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "visit"),
        multiple=True,
    )
    coadd = connectionTypes.Output(
        doc="Weighted mean at the common zero point (float32, NaN where no image is).",
        name="coadd_image",
        storageClass="NumpyArray",
        dimensions=("instrument", "skymap", "tract", "patch"),
    )
    depth = connectionTypes.Output(
        doc="Number of images in each pixel (uint8).",
        name="coadd_n_image",
        storageClass="NumpyArray",
        dimensions=("instrument", "skymap", "tract", "patch"),
    )
    summary = connectionTypes.Output(
        doc="Measured noise for each number of images.",
        name="coadd_summary",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "skymap", "tract", "patch"),
    )
    scaled = connectionTypes.Output(
        doc="What one visit puts into the patch: its images at the common zero point (float32, NaN "
        "where it does not look). An intermediate, made only with `writeScaled`.",
        name="scaled_image",
        storageClass="NumpyArray",
        dimensions=("instrument", "skymap", "tract", "patch", "visit"),
        multiple=True,
    )

    def __init__(self, *, config: Any = None) -> None:
        super().__init__(config=config)
        if not config.writeScaled:
            del self.scaled


class StackConfig(pipe_base.PipelineTaskConfig, pipelineConnections=StackConnections):
    """How images are stacked."""

    zeroPoint = pex_config.Field(dtype=float, default=27.0, doc="Zero point of the coadd.")
    minimumPixels = pex_config.Field(
        dtype=int, default=500, doc="Fewer pixels of one depth give no noise in the summary."
    )
    writeScaled = pex_config.Field(
        dtype=bool, default=False, doc="Write what each visit puts into the patch, too."
    )


@dataclass(frozen=True)
class ScaledImage:
    """One image of a visit, where it lies on the sky grid, its sky noise (counts) and zero point."""

    visit: int
    pixels: NDArray[np.float32]
    origin: tuple[int, int]
    sky_noise: float
    zero_point: float


class StackTask(pipe_base.PipelineTask):
    """Inverse-variance weighted mean of the scaled images."""

    ConfigClass = StackConfig
    _DefaultName = "stack"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        data_id = butlerQC.quantum.dataId
        inputs = butlerQC.get(inputRefs)
        box = inputs["sky_map"]["tracts"][data_id["tract"]]["patches"][data_id["patch"]]
        zero_points = {entry["visit"]: entry["zero_point"] for entry in inputs["zero_points"]}
        tables = {(h.dataId["visit"], h.dataId["detector"]): h for h in inputs["stars"]}
        handles = {(h.dataId["visit"], h.dataId["detector"]): h for h in inputs["images"]}
        usable = [key for key in sorted(handles) if key in tables and key[0] in zero_points]
        if not usable:
            raise pipe_base.NoWorkFound(f"No image of patch {data_id['patch']} has a zero point")

        def images() -> Iterable[ScaledImage]:
            for key in usable:
                meta = tables[key].get().meta
                yield ScaledImage(
                    visit=key[0],
                    pixels=handles[key].get(),
                    origin=(meta["x0"], meta["y0"]),
                    sky_noise=meta["sky_noise"],
                    zero_point=zero_points[key[0]],
                )

        result = self.run(images(), box)
        result.summary["visits"] = sorted({key[0] for key in usable})
        for name in ("coadd", "depth", "summary"):
            butlerQC.put(getattr(result, name), getattr(outputRefs, name))
        for ref in getattr(outputRefs, "scaled", ()):
            if (scaled := result.scaled.get(ref.dataId["visit"])) is not None:
                butlerQC.put(scaled, ref)

    def run(self, images: Iterable[ScaledImage], box: list[int]) -> pipe_base.Struct:
        """Stack the images over one patch.

        Parameters
        ----------
        images
            Images anywhere near the patch; read one at a time.
        box
            x0, y0, x1, y1 of the patch on the sky grid.

        Returns
        -------
        Struct with ``coadd``, ``depth`` and ``summary``, see the connections, and ``scaled`` by
        visit, which is empty without `writeScaled`.
        """
        shape = (box[3] - box[1], box[2] - box[0])
        total = np.zeros(shape)
        weights = np.zeros(shape)
        depth = np.zeros(shape, dtype=np.uint8)
        scaled: dict[int, NDArray[np.float32]] = {}
        for image in images:
            rows, columns = image.pixels.shape
            x0, y0 = image.origin
            left, right = max(x0, box[0]), min(x0 + columns, box[2])
            low, high = max(y0, box[1]), min(y0 + rows, box[3])
            if left >= right or low >= high:
                continue
            scale = 10.0 ** (0.4 * (self.config.zeroPoint - image.zero_point))
            weight = (scale * image.sky_noise) ** -2.0
            here = np.s_[low - box[1] : high - box[1], left - box[0] : right - box[0]]
            values = scale * image.pixels[low - y0 : high - y0, left - x0 : right - x0]
            total[here] += weight * values
            weights[here] += weight
            depth[here] += 1
            if self.config.writeScaled:
                empty = np.full(shape, np.nan, dtype=np.float32)
                scaled.setdefault(image.visit, empty)[here] = values
        with np.errstate(invalid="ignore", divide="ignore"):
            coadd = np.where(depth > 0, total / weights, np.nan).astype(np.float32)
        noise = {
            int(n): sky_sigma(coadd[depth == n])
            for n in np.unique(depth[depth > 0])
            if int((depth == n).sum()) >= self.config.minimumPixels
        }
        covered = float((depth > 0).mean())
        summary: dict[str, Any] = {
            "noise": noise,
            "covered": covered,
            "mean_depth": float(depth.mean()),
        }
        self.log.info("Stacked up to %d images, %.0f %% covered", int(depth.max()), 100 * covered)
        return pipe_base.Struct(coadd=coadd, depth=depth, summary=summary, scaled=scaled)


def sky_sigma(values: NDArray[np.float32]) -> float:
    """Return the width of the sky's noise, with the stars clipped off."""
    kept = values.astype(np.float64)
    for _ in range(8):
        kept = kept[np.abs(kept - np.median(kept)) < 3.5 * kept.std()]
    return float(kept.std())
