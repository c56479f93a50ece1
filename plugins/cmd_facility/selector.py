"""The selector: filters, then a person's word, then the region's facility, then the least load.

All four algorithms do the same so far; shares, locality and history come with the plugin that
replaces `_freely`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cmd_daemon.hooks import FacilityView, Factor, Placement, PlacementRequest
from cmd_facility.pins import Pin, read_pin

read_pin_once = lru_cache(maxsize=1024)(read_pin)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Which facilities could run requests of one kind, and every filter that says so."""

    factors: tuple[Factor, ...]
    good: tuple[str, ...]
    down: tuple[str, ...]
    """Facilities that would do but take no work now."""
    words: str


@dataclass(slots=True)
class _Round:
    """What one call of `select` has decided so far, on top of what the views show."""

    views: Mapping[str, FacilityView]
    load: dict[str, float]
    regions: dict[tuple[str, str], str] = field(default_factory=dict)
    fits: dict[tuple[Any, ...], _Fit] = field(default_factory=dict)
    given: Counter[str] = field(default_factory=Counter)

    def score(self, name: str) -> float:
        """Jobs and groups for each slot, those of this round included."""
        return self.load[name] + self.given[name] / max(1, self.views[name].info.slots)


class FacilitySelector:
    """Places groups at facilities."""

    algorithms = frozenset({"pinned", "share", "locality", "balanced"})

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """One decision for each request, in their order, with every filter and factor looked at."""
        views = {view.info.name: view for view in facilities}
        load = {
            name: (view.running + view.queued + sum(view.placed.values())) / max(1, view.info.slots)
            for name, view in views.items()
        }
        work = _Round(views, load)
        return [self._place(request, work) for request in requests]

    def _place(self, request: PlacementRequest, work: _Round) -> Placement:
        fit = self._fit(request, work)
        try:
            named, why = self._named(request)
        except ValueError as error:
            return Placement(request.group, None, str(error), fit.factors, permanent=True)
        sticky = request.region_at
        if request.region is not None:
            sticky = work.regions.get((request.campaign, request.region), sticky)
        if named is None and sticky is not None:
            named, why = sticky, f"its region {request.region} is there"
        if named is not None:
            factors = (*fit.factors, Factor(named, "chosen", 1.0, True, why))
            if named not in fit.good:
                wait = named in fit.down
                reason = f"{named} is asked for ({why}), but {self._why_not(named, fit)}"
                return Placement(request.group, None, reason, factors, permanent=not wait)
            return self._decide(request, named, why, factors, work)
        if not fit.good:
            return Placement(request.group, None, fit.words, fit.factors, permanent=not fit.down)
        return self._freely(request, fit, work)

    def _freely(self, request: PlacementRequest, fit: _Fit, work: _Round) -> Placement:
        """Among those that fit, the facility with the least load; the first named wins a tie."""
        scores = {name: work.score(name) for name in fit.good}
        best = min(scores, key=lambda name: scores[name])
        loads = tuple(
            Factor(name, "load", round(score, 4), True, "jobs and groups for each slot")
            for name, score in scores.items()
        )
        reason = f"least load ({scores[best]:.2f} jobs and groups for each slot)"
        if len(fit.good) == 1:
            reason = "the only facility that fits and takes work"
        return self._decide(request, best, reason, (*fit.factors, *loads), work)

    @staticmethod
    def _decide(
        request: PlacementRequest,
        facility: str,
        reason: str,
        factors: tuple[Factor, ...],
        work: _Round,
    ) -> Placement:
        work.given[facility] += 1
        if request.region is not None:
            work.regions[request.campaign, request.region] = facility
        return Placement(request.group, facility, reason, factors)

    @staticmethod
    def _named(request: PlacementRequest) -> tuple[str | None, str]:
        """The facility a person has named for this group, and how. Raises ValueError if they named
        two."""
        if request.at is not None:
            return request.at, "the step says at"
        data = request.share.get("data") or request.share
        values = data.get("values") if isinstance(data, Mapping) else None
        by_dimension = values if isinstance(values, Mapping) else {}
        found: dict[str, Pin] = {}
        for facility, text in request.pins.items():
            pin = read_pin_once(text)
            if pin.touches(request.region, by_dimension):
                found[facility] = pin
        if len(found) > 1:
            raise ValueError(
                f"its data are pinned to {' and to '.join(sorted(found))}; "
                "make the groups smaller or change the pins"
            )
        for facility in found:
            return facility, f"pinned by {request.pins[facility]}"
        return None, ""

    def _fit(self, request: PlacementRequest, work: _Round) -> _Fit:
        """The filters, once for all requests that ask for the same."""
        kind = (
            request.facilities,
            request.memory,
            request.cores,
            request.walltime_s,
            request.stack,
            request.butler,
            request.at,
        )
        if kind not in work.fits:
            work.fits[kind] = self._filter(request, work.views)
        return work.fits[kind]

    @staticmethod
    def _filter(request: PlacementRequest, views: Mapping[str, FacilityView]) -> _Fit:
        allowed = list(request.facilities or views)
        if request.at is not None:
            allowed = [request.at]
        factors: list[Factor] = []
        good: list[str] = []
        down: list[str] = []
        for name in allowed:
            view = views.get(name)
            if view is None:
                factors.append(Factor(name, "known", 0.0, False, "no facility of this daemon"))
                continue
            lasting = _lasting(request, view)
            up = Factor(name, "up", float(view.up), view.up, view.reason)
            factors += [*lasting, up]
            if all(factor.passed for factor in lasting):
                (good if view.up else down).append(name)
        failed = [
            f"{factor.facility}: {factor.detail or factor.name}"
            for factor in factors
            if not factor.passed
        ]
        words = f"no facility fits now: {'; '.join(failed) or 'none is configured'}"
        return _Fit(tuple(factors), tuple(good), tuple(down), words)

    @staticmethod
    def _why_not(name: str, fit: _Fit) -> str:
        failed = [
            factor.detail or factor.name
            for factor in fit.factors
            if factor.facility == name and not factor.passed
        ]
        return "; ".join(failed) or "the campaign does not allow that facility"


def _lasting(request: PlacementRequest, view: FacilityView) -> list[Factor]:
    """The filters that waiting cannot change."""
    info = view.info
    name = info.name

    def filtered(what: str, passed: bool, detail: str) -> Factor:
        return Factor(name, what, float(passed), passed, "" if passed else detail)

    found = [
        filtered(
            "memory",
            request.memory <= info.memory,
            f"{request.memory / 1e9:.1f} GB of memory asked for, it has {info.memory / 1e9:.1f} GB",
        ),
        filtered(
            "cores",
            request.cores <= info.cores,
            f"{request.cores} cores asked for, it has {info.cores}",
        ),
        filtered(
            "walltime",
            request.walltime_s <= info.walltime_s,
            f"{request.walltime_s:g} s of wall time asked for, it allows {info.walltime_s:g} s",
        ),
    ]
    if request.stack:
        found.append(
            filtered("stack", request.stack in info.stacks, f"it has no stack '{request.stack}'")
        )
    if request.butler:
        found.append(
            filtered(
                "butler",
                request.butler in info.butlers,
                f"it has no Butler repository '{request.butler}'",
            )
        )
    return found
