"""A splitter and a selector without any outside system."""

from collections.abc import Mapping, Sequence
from typing import Any

from cmd_daemon.hooks import (
    DataShare,
    DriverError,
    ErrorClass,
    FacilityView,
    Factor,
    Host,
    Placement,
    PlacementRequest,
    SplitRequest,
)


class FakeSplitter:
    """`{count: n}` gives n shares 0001..n; `{fail: Transient|NotYet|Permanent}` fails instead."""

    name = "fake"
    needs_facility = False

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Problems with the parameters."""
        problems = [f"{key}: unknown key" for key in params if key not in ("count", "fail")]
        count = params.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            problems.append("count: must be a whole number from 0 on")
        if "fail" in params and params["fail"] not in list(ErrorClass):
            problems.append("fail: must be an error class")
        return problems

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """The shares, in order."""
        if "fail" in request.params:
            raise DriverError(ErrorClass(request.params["fail"]), "failed as the test asked")
        count = int(request.params.get("count", 1))
        width = max(4, len(str(count)))
        return [
            DataShare(name=f"{number:0{width}d}", where=f"visit = {number}", size=1)
            for number in range(1, count + 1)
        ]


class FakeSelector:
    """Algorithm `fake`: the first facility that is up, or the one that is asked for if it is."""

    algorithms = frozenset({"fake"})

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """One decision for each request."""
        factors = tuple(
            Factor(view.info.name, "up", float(view.up), view.up, view.reason)
            for view in facilities
        )
        up = [view.info.name for view in facilities if view.up]
        found = []
        for request in requests:
            fits = (
                name for name in up if request.at in (None, name) and name not in request.exclude
            )
            first = next(fits, None)
            reason = "the first facility that is up" if first else "no facility is up"
            found.append(Placement(request.group, first, reason, factors))
        return found
