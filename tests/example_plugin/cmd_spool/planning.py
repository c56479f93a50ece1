"""A splitter and a selector: how data is shared, and where it goes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from cmd_daemon.hooks import (
    DataShare,
    FacilityView,
    Factor,
    Host,
    Placement,
    PlacementRequest,
    SplitRequest,
)

MOST_NIGHTS = 3660


class NightSplitter:
    """`split: {splitter: nights, first: 2026-11-01, last: 2026-11-07, each: 2}`: so many nights a group."""

    name = "nights"
    needs_facility = False

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Problems in words; the first word is the key."""
        problems = [f"{key}: unknown key" for key in params if key not in ("first", "last", "each")]
        days = {}
        for key in ("first", "last"):
            try:
                days[key] = date.fromisoformat(str(params[key]))
            except KeyError:
                problems.append(f"{key}: this key is required")
            except ValueError:
                problems.append(f"{key}: must be a date such as 2026-11-01")
        if len(days) == 2 and not 0 <= (days["last"] - days["first"]).days < MOST_NIGHTS:
            problems.append(f"last: must be 0 to {MOST_NIGHTS - 1} days after first")
        each = params.get("each", 1)
        if not isinstance(each, int) or isinstance(each, bool) or each < 1:
            problems.append("each: must be a whole number from 1 on")
        return problems

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """One share for each run of nights, named after its first."""
        first = date.fromisoformat(str(request.params["first"]))
        last = date.fromisoformat(str(request.params["last"]))
        each = int(request.params.get("each", 1))
        nights = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [_share(nights[n : n + each]) for n in range(0, len(nights), each)]


def _share(nights: Sequence[date]) -> DataShare:
    numbers = [night.strftime("%Y%m%d") for night in nights]
    return DataShare(
        name=numbers[0],
        where=f"day_obs IN ({', '.join(numbers)})",
        size=len(numbers),
        data={"nights": numbers},
    )


class MostFree:
    """Algorithm `most-free`: of the campaign's facilities that are up, the one with most free slots."""

    algorithms = frozenset({"most-free"})

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """One decision for each request, in their order."""
        views = {view.info.name: view for view in facilities}
        given: Counter[str] = Counter()
        decisions = []
        for request in requests:
            factors = []
            for name in (request.at,) if request.at else request.facilities:
                view = views[name]
                # Groups given out in this round are in no view yet.
                free = view.info.slots - view.running - view.queued - given[name]
                good = view.up and request.memory <= view.info.memory
                factors.append(Factor(name, "free slots", float(free), good, view.reason))
            fitting = [factor for factor in factors if factor.passed]
            if not fitting:
                reason = "no facility is up that has enough memory"
                decisions.append(Placement(request.group, None, reason, tuple(factors)))
                continue
            best = max(fitting, key=lambda factor: factor.value)
            given[best.facility] += 1
            reason = f"most free slots ({best.value:g})"
            decisions.append(Placement(request.group, best.facility, reason, tuple(factors)))
        return decisions
