"""What is done to the daemon, drawn by the seed: how each of its lives ends, and what troubles it."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from cmd_daemon.failpoints import NAMES

ELSEWHERE = {"after-chunk": "tests/crash/test_crash_export.py"}
"""Failpoints at which another test kills. There old campaigns leave the database, whose history is the proof
here."""

POINTS = tuple(name for name in NAMES if name not in ELSEWHERE)
RUCIO_POINTS = {
    "after-declared": ("RucioServer", "add_files"),
    "after-attached": ("RucioServer", "attach"),
    "after-ruled": ("RucioServer", "add_rule"),
    "after-zipped": ("RucioButlers", "zipped"),
    "after-adopted": ("RucioButlers", "adopt"),
    "after-zip-adopted": ("RucioButlers", "adopt_zip"),
    "after-closed": ("RucioServer", "close_dataset"),
}
"""Where rounds with a Rucio kill besides: a class of the driver `rucio` and its call that Rucio, or a Butler,
has just done, which nobody knows yet. See `campaign_rucio_points.py`."""

RANDOM = "any moment"
TROUBLES = (
    "frozen",
    "clock jump",
    "far machine cut off",
    "slow drivers",
    "misbehaving clients",
    "disk full",
    "database stopped",
)
RUCIO_TROUBLES = (
    "Rucio's server stopped",
    "Rucio's server hangs",
    "Rucio's daemons paused",
    "transfers fail",
    "transfer service lost",
)


@dataclass(frozen=True)
class Life:
    """One life of a daemon: killed at the `count`-th time at a failpoint, or (`point` is RANDOM) after
    `moment_s` seconds; with `early` these begin before it serves. `trouble` is "" for most."""

    point: str
    count: int
    moment_s: float
    early: bool
    trouble: str

    @property
    def failpoint(self) -> str:
        """For CMD_FAILPOINT."""
        return "" if self.point == RANDOM else f"{self.point}:{self.count}"

    def __str__(self) -> str:
        where = f"{self.moment_s:.2f} s" if self.point == RANDOM else self.failpoint
        return f"{where}{' while starting' if self.early else ''} {self.trouble}".rstrip()


def lives(
    seed: str,
    number: int,
    troubles: tuple[str, ...] = TROUBLES,
    points_of: tuple[str, ...] = POINTS,
    longest_s: float = 1.2,
    most: int = 3,
) -> Iterator[Life]:
    """The lives of a round. All failpoints come, in turn, reached for the `most`-th time at the latest; every
    third life ends at any moment, after `longest_s` seconds at the latest."""
    dice = random.Random(seed)
    points = list(points_of)
    dice.shuffle(points)
    ends = [RANDOM if n % 3 == 2 else points[(n - n // 3) % len(points)] for n in range(number)]
    for point in ends:
        latest = 8 if "commit" in point else most
        early = point == RANDOM and dice.random() < 0.3
        # A daemon that does not find its database when it starts ends by itself: no kill.
        trouble = dice.choice(troubles) if dice.random() < 0.5 and not early else ""
        yield Life(point, dice.randint(1, latest), dice.uniform(0.05, longest_s), early, trouble)


@dataclass
class Tally:
    """What was done and seen, summed up; `+=` adds another."""

    kills: Counter[str]
    troubles: Counter[str]
    proven: Counter[str]
    failures: list[str]

    @classmethod
    def empty(cls) -> "Tally":
        """Nothing yet."""
        return cls(Counter(), Counter(), Counter(), [])

    def __iadd__(self, other: "Tally") -> "Tally":
        self.kills += other.kills
        self.troubles += other.troubles
        self.proven += other.proven
        self.failures += other.failures
        return self
