"""What a `placement` says, of the campaign or of a step, and whether this daemon can do it."""

import math
from collections.abc import Sequence

from cmd_daemon.spec.datasets import dataset_problem
from cmd_daemon.spec.model import PlacementSection
from cmd_daemon.spec.problems import Path, shorten
from cmd_daemon.spec.queries import query_problem
from cmd_daemon.spec.reading import Document


class PlacementCheck:
    """Checks placements; problems go to the document. What the algorithm's own parameters mean is
    its plugin's to judge."""

    def __init__(
        self, document: Document, facilities: Sequence[str], algorithms: frozenset[str]
    ) -> None:
        self._document = document
        self._facilities = facilities
        self._algorithms = sorted(algorithms)

    def run(self, path: Path, own: PlacementSection | None, whole: PlacementSection | None) -> None:
        """Check what is written at `path`; `whole` is that with what it takes from around it."""
        if own is None or whole is None:
            return
        add, nearest = self._document.add, self._document.nearest
        if own.algorithm is not None and own.algorithm not in self._algorithms:
            add(
                (*path, "algorithm"),
                f"there is no algorithm '{shorten(own.algorithm)}'",
                nearest(own.algorithm, self._algorithms, "algorithms"),
            )
        for key, names in (("shares", own.shares), ("pins", own.pins)):
            for name in names or {}:
                if name not in self._facilities:
                    add(
                        (*path, key, name),
                        f"'{shorten(name)}' is not one of this campaign's facilities",
                        nearest(name, self._facilities, "facilities"),
                        of_key=True,
                    )
        for name, where in (own.pins or {}).items():
            if words := query_problem(where):
                add((*path, "pins", name), words)
        for i, name in enumerate(own.inputs or []):
            if words := dataset_problem(name):
                add((*path, "inputs", i), words)
        if own.shares is not None:
            total = math.fsum(own.shares.values())
            if abs(total - 1) > 1e-6:
                add((*path, "shares"), f"the shares add up to {total:g}, not to 1")
        elif (
            whole.algorithm == "share"
            and whole.shares is None
            and own.model_fields_set & {"algorithm", "shares"}
        ):
            add(
                (*path, "algorithm" if own.algorithm is not None else "shares"),
                "the algorithm 'share' needs the shares",
                "add shares: {FACILITY: 0.5, ...}",
            )
