"""Where everything of the demo sky is: tracts, patches, detectors, visits and stars on one flat
pixel grid.

The sky is a narrow strip near the celestial equator, so that one global grid of square pixels
describes it: pixel ``(x, y)`` is at RA ``RA_ORIGIN + x * PIXEL_SCALE``, Dec ``DEC_ORIGIN + y *
PIXEL_SCALE`` (degrees). Images are cut from that grid with whole-pixel offsets, hence coadds need
no resampling and their noise can be predicted exactly.

Lengths are in pixels, angles in degrees, fluxes and sky levels in counts, zero points in magnitudes
of one count.
"""

from dataclasses import asdict, dataclass, field
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

INSTRUMENT = "DemoCam"
PHYSICAL_FILTER = "demo_r"
BAND = "r"
SKYMAP = "demo_sky"
RAW_RUN = "DemoCam/raw"
CALIB_RUN = "DemoCam/calib"
SKYMAP_RUN = "skymaps"
DEFAULTS = "DemoCam/defaults"

PIXEL_SCALE = 1.0 / 3600.0
RA_ORIGIN = 150.0
DEC_ORIGIN = 0.0
PATCHES_PER_SIDE = 2
FIRST_TRACT = 1
FIRST_VISIT = 1001
DAY_OBS = 20261101
EXPOSURE_TIME = 30.0
DITHER = 10
STAR_SEPARATION = 18.0
STARS_PER_PIXEL = 1.0 / 1400.0
NOMINAL_ZERO_POINT = 27.0
ZERO_POINT_SCATTER = 0.08


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: lower corner inside, upper corner outside."""

    x0: int
    y0: int
    x1: int
    y1: int

    def touches(self, other: "Box") -> bool:
        """Return whether the two have pixels in common."""
        return (
            self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1
        )

    def corners(self) -> list[tuple[float, float]]:
        """Return the corners as (RA, Dec) in degrees, counter-clockwise.

        Half a pixel is taken off each side: boxes that only touch do not overlap, in the Butler as
        in the images.
        """
        ends = (self.x0 + 0.5, self.x1 - 0.5), (self.y0 + 0.5, self.y1 - 0.5)
        (xa, xb), (ya, yb) = ends
        return [
            (RA_ORIGIN + x * PIXEL_SCALE, DEC_ORIGIN + y * PIXEL_SCALE)
            for x, y in ((xa, ya), (xb, ya), (xb, yb), (xa, yb))
        ]


@dataclass(frozen=True)
class Visit:
    """One exposure of the whole camera: where it points, and the truth that the pipeline has to
    find.
    """

    id: int
    origin: tuple[int, int]
    zero_point: float
    sky: float
    psf_sigma: float


@dataclass(frozen=True)
class SkySize:
    """What decides the demo sky; the same values always give the same sky, bit by bit."""

    tracts: int = 3
    visits: int = 12
    detectors: int = 4
    seed: int = 2026
    detector_size: int = 256

    def __post_init__(self) -> None:
        """Refuse values that give no sky.

        Raises
        ------
        ValueError
            If a count is below 1, or there are too few visits to link all tracts.
        """
        if min(self.tracts, self.visits, self.detectors) < 1:
            raise ValueError("tracts, visits and detectors must be at least 1")
        if self.detector_size < 64:
            raise ValueError("detector_size must be at least 64 pixels")
        if self.visits < 2 * self.tracts - 1:
            raise ValueError(
                f"{self.tracts} tracts need at least {2 * self.tracts - 1} visits "
                f"to be covered and linked by common stars, not {self.visits}"
            )


@dataclass
class Layout:
    """The whole sky of one `SkySize`: boxes, visits and true stars."""

    size: SkySize
    columns: int = field(init=False)
    rows: int = field(init=False)
    visits: list[Visit] = field(init=False)
    stars: NDArray[np.float64] = field(init=False)
    """One row per star: x, y, magnitude."""

    def __post_init__(self) -> None:
        self.columns = ceil(sqrt(self.size.detectors))
        self.rows = ceil(self.size.detectors / self.columns)
        rng = np.random.default_rng(self.size.seed)
        self.visits = self._make_visits(rng)
        self.stars = self._make_stars(rng)

    @property
    def tract_width(self) -> int:
        return self.columns * self.size.detector_size

    @property
    def tract_height(self) -> int:
        return self.rows * self.size.detector_size

    def detector_offset(self, detector: int) -> tuple[int, int]:
        """Return the lower corner of a detector relative to the camera's origin."""
        return (
            (detector % self.columns) * self.size.detector_size,
            (detector // self.columns) * self.size.detector_size,
        )

    def detector_box(self, visit: Visit, detector: int) -> Box:
        """Return the pixels that a detector sees in a visit."""
        dx, dy = self.detector_offset(detector)
        x, y = visit.origin[0] + dx, visit.origin[1] + dy
        return Box(x, y, x + self.size.detector_size, y + self.size.detector_size)

    def visit_box(self, visit: Visit) -> Box:
        """Return the pixels that the whole camera covers in a visit."""
        x, y = visit.origin
        return Box(x, y, x + self.tract_width, y + self.tract_height)

    def tract_box(self, tract: int) -> Box:
        """Return the pixels of a tract; tracts lie side by side in RA."""
        x = (tract - FIRST_TRACT) * self.tract_width
        return Box(x, 0, x + self.tract_width, self.tract_height)

    def tracts(self) -> range:
        """Return the tract ids."""
        return range(FIRST_TRACT, FIRST_TRACT + self.size.tracts)

    def patch_box(self, tract: int, patch: int) -> Box:
        """Return the pixels of a patch of a tract."""
        tract_box = self.tract_box(tract)
        width, height = self.tract_width // PATCHES_PER_SIDE, self.tract_height // PATCHES_PER_SIDE
        x = tract_box.x0 + (patch % PATCHES_PER_SIDE) * width
        y = tract_box.y0 + (patch // PATCHES_PER_SIDE) * height
        return Box(x, y, x + width, y + height)

    def patches(self) -> range:
        """Return the patch ids of each tract."""
        return range(PATCHES_PER_SIDE**2)

    def truth(self) -> dict[str, object]:
        """Return all that is known to be true, as plain JSON values."""
        return {
            "size": asdict(self.size),
            "nominal_zero_point": NOMINAL_ZERO_POINT,
            "visits": {
                str(v.id): {
                    "origin": list(v.origin),
                    "zero_point": v.zero_point,
                    "sky": v.sky,
                    "psf_sigma": v.psf_sigma,
                }
                for v in self.visits
            },
            "stars": [[float(value) for value in star] for star in self.stars],
        }

    def _make_visits(self, rng: np.random.Generator) -> list[Visit]:
        # Pointings step by half a tract: neighbouring tracts share visits, and the number of visits
        # differs over each patch, which lets the check see how the noise falls with it.
        pointings = 2 * self.size.tracts - 1
        visits = []
        for index in range(self.size.visits):
            dither_x, dither_y = rng.integers(-DITHER, DITHER + 1, 2)
            visits.append(
                Visit(
                    id=FIRST_VISIT + index,
                    origin=(
                        (index % pointings) * self.tract_width // 2 + int(dither_x),
                        int(dither_y),
                    ),
                    zero_point=NOMINAL_ZERO_POINT + float(rng.normal(0.0, ZERO_POINT_SCATTER)),
                    sky=float(rng.uniform(150.0, 250.0)),
                    psf_sigma=float(rng.uniform(1.3, 1.7)),
                )
            )
        return visits

    def _make_stars(self, rng: np.random.Generator) -> NDArray[np.float64]:
        # Stars keep a distance from each other, so that aperture fluxes are not disturbed by
        # neighbours and the truth has no footnotes.
        low_x, high_x = -DITHER, self.size.tracts * self.tract_width + DITHER
        low_y, high_y = -DITHER, self.tract_height + DITHER
        wanted = int((high_x - low_x) * (high_y - low_y) * STARS_PER_PIXEL)
        placed = np.empty((0, 2))
        for _ in range(20 * wanted):
            if len(placed) == wanted:
                break
            spot = rng.uniform((low_x, low_y), (high_x, high_y))
            if not len(placed) or np.min(np.sum((placed - spot) ** 2, axis=1)) > STAR_SEPARATION**2:
                placed = np.vstack([placed, spot])
        magnitudes = rng.uniform(14.5, 18.0, len(placed))
        return np.column_stack([placed, magnitudes])
