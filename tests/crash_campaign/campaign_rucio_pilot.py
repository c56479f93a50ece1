"""The load of a round with a Rucio: campaigns whose groups are moved between three facilities."""

import random
from collections.abc import Callable, Sequence

from campaign_home import Home
from campaign_pilot import OPEN, Pilot

FILE = """\
campaign: {name}
owner: me
stack: demo
butler: {{repo: main, inputs: [DemoCam/defaults], output: u/me/{name}}}
facilities: [USDF, FrDF, UKDF]
defaults:
  retry: {{attempts: 20, backoff: 1 s}}
  params: {{fake: {{run_s: 0.2}}}}
steps:
  french:
    at: FrDF
    split: {{by: tract, ranges: ["1..2"]}}
    pipeline: x.yaml#a
    keep: {{datasets: [product, run_log], at: USDF}}
  british:
    at: UKDF
    split: {{by: tract, ranges: ["1..2"]}}
    pipeline: x.yaml#a
    keep: {{datasets: [product, run_log], at: USDF}}
  fit:
    after: [french, british]
    at: USDF
    gather: {{datasets: [catalog]}}
    pipeline: x.yaml#b
    scatter: {{datasets: [fit], by: visit}}
"""
MOVED: dict[str, Sequence[tuple[str, str, Sequence[int]]]] = {
    "product": [("keep", "USDF", ())],
    "run_log": [("keep", "USDF", ())],
    "catalog": [("gather", "USDF", ())],
    "fit": [("scatter-FrDF", "FrDF", ()), ("scatter-UKDF", "UKDF", (1001, 1002))],
}
"""By dataset type the movements, where each goes, and of which visits alone: UKDF holds two."""

WANTED = {"french": 2, "british": 2, "fit": 1}
"""Groups of each step."""


class RucioPilot(Pilot):
    """Applies the campaigns of these names, whose groups have made their outputs, one after the other."""

    wanted = WANTED
    highest = 6
    far = "facilities/FrDF"

    def __init__(self, site: Home, dice: random.Random, campaigns: Sequence[str]) -> None:
        super().__init__(site, dice)
        self._campaigns = list(reversed(campaigns))

    @property
    def _wishes(self) -> tuple[Callable[[], object], ...]:
        """See `Pilot`. What is cancelled or killed lets its rules go: here each is to be made once."""
        return (
            self._apply,
            self._apply,
            self._pause,
            self._resume,
            self._resume,
            self._control,
            self._control,
            self._hold,
            self._unhold,
            self._unhold,
            self._look,
        )

    def _apply(self) -> None:
        if self._campaigns and len(self._open()) < OPEN:
            self.applied.append(self._campaigns.pop())
            self.write(self.applied[-1])

    def write(self, name: str) -> None:
        """See `Pilot`."""
        self.client.apply_campaign(FILE.format(name=name), start=True)
