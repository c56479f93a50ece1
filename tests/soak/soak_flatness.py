"""Whether a figure is flat after warm-up: the rule, the sparkline, the words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

WARM_UP = 1 / 3
"""Share of the run that is not judged: caches fill, the interpreter's memory settles."""

SETTLED_S = 300.0
"""Seconds until bounded caches are full and the first campaigns have left the database."""

MOST_POINTS = 240
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Rule:
    """What growth a figure may have over the judged part: `share` of its median or `least`, whichever is
    more. Growth is the Theil-Sen slope (the median of the slopes of all pairs of samples, which a few
    outliers cannot move) times the length of the judged part. `filling` is allowed on top where that part
    begins before SETTLED_S."""

    figure: str
    unit: str
    share: float
    least: float
    filling: float = 0.0

    def allowed(self, values: Sequence[float]) -> float:
        """How much growth is allowed over these values."""
        return max(self.share * median(values), self.least)


RULES = (
    Rule("resident memory", "MB", 0.05, 8.0, filling=25.0),
    Rule("file descriptors", "", 0.05, 3.0),
    Rule("threads", "", 0.05, 2.0),
    Rule("asyncio tasks", "", 0.05, 5.0),
    Rule("database", "MB", 0.25, 5.0, filling=100.0),
)


@dataclass(frozen=True)
class Verdict:
    """A figure's growth over the judged part, what was allowed, and the samples."""

    figure: str
    unit: str
    growth: float
    allowed: float
    values: tuple[float, ...]

    @property
    def flat(self) -> bool:
        """Whether it grew no more than allowed."""
        return self.growth <= self.allowed


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Evenly chosen points, few enough for all their pairs."""
    step = -(-len(points) // MOST_POINTS)
    return list(points[::step])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's slope; 0 for fewer than two different moments."""
    few = thinned(points)
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(few, 2) if b[0] != a[0]]
    return median(slopes) if slopes else 0.0


def judged(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points after warm-up."""
    return list(points[round(len(points) * WARM_UP) :])


def verdict(rule: Rule, points: Sequence[tuple[float, float]]) -> Verdict:
    """Judge one figure by (seconds, value) samples."""
    kept = judged(points)
    values = [value for _, value in kept]
    growth = slope(kept) * (kept[-1][0] - kept[0][0])
    everything = tuple(value for _, value in points)
    allowed = rule.allowed(values) + (rule.filling if kept[0][0] < SETTLED_S else 0.0)
    return Verdict(rule.figure, rule.unit, growth, allowed, everything)


def sparkline(values: Sequence[float], width: int = 48) -> str:
    """The values as a row of bars, from their least to their greatest."""
    size = -(-len(values) // width)
    means = [
        sum(part) / len(part)
        for part in (values[i : i + size] for i in range(0, len(values), size))
    ]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(
        BARS[min(int((value - low) / span * len(BARS)), len(BARS) - 1)] for value in means
    )
