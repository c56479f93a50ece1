"""Fit the zero points of all visits at once."""

from typing import Any

import lsst.pex.config as pex_config
import lsst.pipe.base as pipe_base
import numpy as np
from astropy.table import Table, vstack
from lsst.pipe.base import connectionTypes
from numpy.typing import NDArray

MAGNITUDES_PER_RELATIVE_FLUX = 2.5 / np.log(10.0)


class GlobalCalibrateConnections(
    pipe_base.PipelineTaskConnections, dimensions=("instrument", "skymap")
):
    """What goes in and out."""

    catalogs = connectionTypes.Input(
        doc="Matched stars of all tracts.",
        name="star_catalog",
        storageClass="ArrowAstropy",
        dimensions=("instrument", "skymap", "tract"),
        multiple=True,
    )
    # One dataset per visit: a Butler takes in only datasets of visits that it knows.
    zero_points = connectionTypes.Output(
        doc="Zero point of a visit (magnitude of one count) and its error.",
        name="zero_point",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "visit"),
        multiple=True,
    )
    summary = connectionTypes.Output(
        doc="Quality of the fit, and the covariance of the zero points "
        "(magnitudes squared, in the order of visits).",
        name="global_calibration_summary",
        storageClass="StructuredDataDict",
        dimensions=("instrument", "skymap"),
    )


class GlobalCalibrateConfig(
    pipe_base.PipelineTaskConfig, pipelineConnections=GlobalCalibrateConnections
):
    """How the fit is done."""

    minimumSignalToNoise = pex_config.Field(
        dtype=float, default=30.0, doc="Fainter measurements are left out."
    )
    nominalZeroPoint = pex_config.Field(
        dtype=float,
        default=27.0,
        doc="Mean of all zero points: the stars alone fix differences only.",
    )
    clip = pex_config.Field(
        dtype=float,
        default=5.0,
        doc="Residuals beyond this many errors are left out of a second fit.",
    )


class GlobalCalibrateTask(pipe_base.PipelineTask):
    """Weighted least squares over all stars and visits."""

    ConfigClass = GlobalCalibrateConfig
    _DefaultName = "globalCalibrate"

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:
        result = self.run(butlerQC.get(inputRefs.catalogs))
        # A visit that no star links to another one has no zero point: its dataset stays away.
        for ref in outputRefs.zero_points:
            if (zero_point := result.zero_points.get(ref.dataId["visit"])) is not None:
                butlerQC.put(zero_point, ref)
        butlerQC.put(result.summary, outputRefs.summary)

    def run(self, catalogs: list[Table]) -> pipe_base.Struct:
        """Fit all zero points.

        Parameters
        ----------
        catalogs
            Matched stars of each tract.

        Returns
        -------
        Struct with ``zero_points`` ({visit: {visit, zero_point, error, n_stars}}) and ``summary``
        (chi2, counts).

        Raises
        ------
        RuntimeError
            If the visits fall into parts that no star links.
        """
        for catalog in catalogs:
            catalog.meta.clear()
        sights = vstack(catalogs)
        sights = sights[
            np.asarray(sights["flux"] / sights["flux_err"]) > self.config.minimumSignalToNoise
        ]
        visits, visit_index = np.unique(np.asarray(sights["visit"]), return_inverse=True)
        _, star_index = np.unique(np.asarray(sights["star"]), return_inverse=True)
        magnitude = -2.5 * np.log10(np.asarray(sights["flux"]))
        error = MAGNITUDES_PER_RELATIVE_FLUX * np.asarray(sights["flux_err"] / sights["flux"])
        keep = np.ones(len(sights), dtype=bool)
        for _ in range(2):
            zero_point, covariance, residual = fit_zero_points(
                visit_index[keep], star_index[keep], magnitude[keep], error[keep], visits
            )
            chi = residual / error[keep]
            keep[keep] = np.abs(chi) < self.config.clip
        n_used = int(keep.sum())
        freedom = n_used - len(np.unique(star_index[keep])) - len(visits) + 1
        chi2 = float(np.sum(chi[np.abs(chi) < self.config.clip] ** 2))
        errors = np.sqrt(np.diag(covariance))
        counts = np.bincount(visit_index[keep], minlength=len(visits))
        zero_points = {
            int(visit): {
                "visit": int(visit),
                "zero_point": float(zero_point[i] + self.config.nominalZeroPoint),
                "error": float(errors[i]),
                "n_stars": int(counts[i]),
            }
            for i, visit in enumerate(visits)
        }
        summary = {
            "n_visits": len(visits),
            "n_measurements": n_used,
            "n_clipped": int(len(keep) - n_used),
            "chi2": chi2,
            "degrees_of_freedom": freedom,
            "median_error": float(np.median(errors)),
            "visits": [int(visit) for visit in visits],
            "covariance": covariance.tolist(),
        }
        self.log.info(
            "Fitted %d zero points, chi2 %.1f for %d degrees of freedom", len(visits), chi2, freedom
        )
        return pipe_base.Struct(zero_points=zero_points, summary=summary)


def fit_zero_points(
    visit: NDArray[np.intp],
    star: NDArray[np.intp],
    magnitude: NDArray[np.float64],
    error: NDArray[np.float64],
    visits: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Solve ``magnitude + zero_point[visit] = true[star]`` by weighted least squares.

    The star magnitudes are eliminated first (each is the weighted mean of its sights), which leaves
    a small system for the visits. It does not change when all zero points move together: the
    solution of mean zero is taken (pseudo-inverse).

    Returns
    -------
    zero points (mean zero), their covariance, and the residual of each measurement.

    Raises
    ------
    RuntimeError
        If more than that one direction is free, that is if no star links some visits with the
        others.
    """
    weight = error**-2.0
    n_visits = len(visits)
    star_weight = np.bincount(star, weight)
    star_weight[star_weight == 0] = 1.0
    design = np.zeros((len(star_weight), n_visits))
    np.add.at(design, (star, visit), weight)
    shares = design / star_weight[:, None]
    normal = np.diag(design.sum(axis=0)) - design.T @ shares
    star_mean = np.bincount(star, weight * magnitude, len(star_weight)) / star_weight
    right = -np.bincount(visit, weight * (magnitude - star_mean[star]), n_visits)
    eigenvalues = np.linalg.eigvalsh(normal)
    if n_visits > 1 and eigenvalues[1] < 1e-9 * eigenvalues[-1]:
        raise RuntimeError(
            f"The zero points of {n_visits} visits ({visits[0]}..{visits[-1]}) cannot be fitted together: "
            "some visits have no stars in common with the others"
        )
    covariance = np.linalg.pinv(normal, rcond=1e-9, hermitian=True)
    zero_point = covariance @ right
    calibrated = magnitude + zero_point[visit]
    true = np.bincount(star, weight * calibrated, len(star_weight)) / star_weight
    return zero_point, covariance, calibrated - true[star]
