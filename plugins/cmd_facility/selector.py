"""The selector: filters, then a person's word, then the region's facility, then the weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cmd_daemon.hooks import FacilityView, Factor, Placement, PlacementRequest
from cmd_facility.filters import Fit, storage_need
from cmd_facility.pins import read_pin
from cmd_facility.tally import Tally
from cmd_facility.weighing import best_of, weigh

read_pin_once = lru_cache(maxsize=1024)(read_pin)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a campaign may say beside the algorithm's name.

    `margin`: by how much more than the former facility's score a challenger must have (0.2: a fifth
    more). `when_down`: what becomes of a region whose facility takes no work: `wait`, or `replace`,
    which gives it another facility if, and only if, nothing of the region has run.
    """

    margin: float = 0.2
    when_down: str = "wait"


def read_parameters(params: Mapping[str, Any]) -> Parameters:
    """The parameters from their mapping. Raises ValueError with words for people."""
    margin, when_down = params.get("margin", 0.2), params.get("when_down", "wait")
    unknown = sorted(set(params) - {"margin", "when_down"})
    if unknown:
        raise ValueError(f"placement has no parameter '{unknown[0]}'; it has margin and when_down")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin <= 100:
        raise ValueError("the placement's margin must be a number from 0 to 100")
    if when_down not in ("wait", "replace"):
        raise ValueError("the placement's when_down must be wait or replace")
    return Parameters(float(margin), when_down)


@dataclass(frozen=True, slots=True)
class _Named:
    """The facility a person has named for a group, and how; `problem` if they cannot be heard."""

    facility: str | None = None
    why: str = ""
    pinned: bool = False
    problem: str = ""


_NOBODY = _Named()


class FacilitySelector:
    """Places groups at facilities: `pinned`, `share`, `locality` and `balanced`.

    The order of what counts: where a person has moved the group, the step's `at`, a pin, the facility
    of the group's region, the algorithm.
    None of them overrides a filter: a group whose named facility does not fit waits, or is held if
    waiting cannot help. The same requests and views always give the same answer, whatever the
    order of the views (equal scores go by the campaign's own list); the requests are decided in
    their order, each knowing those before.
    """

    algorithms = frozenset({"pinned", "share", "locality", "balanced"})

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        """One decision for each request, in their order, with every filter and factor looked at."""
        tally = Tally(facilities)
        named = [_named(request) for request in requests]
        _prepare_regions(requests, named, tally)
        return [_place(request, word, tally) for request, word in zip(requests, named, strict=True)]


def _prepare_regions(
    requests: Sequence[PlacementRequest], named: Sequence[_Named], tally: Tally
) -> None:
    """What the groups of a region must agree on: a pin of one of them, unless the region already has
    a facility, and the facilities that fit them all."""
    for request, word in zip(requests, named, strict=True):
        if request.region is None or word.problem:
            continue
        key = (request.campaign, request.region)
        if word.pinned and word.facility is not None and request.region_at is None:
            tally.bind(request, word.facility)
        elif word.facility is None:
            good = tally.static(request).good
            known = tally.common.get(key)
            tally.common[key] = set(good) if known is None else known.intersection(good)


def _place(request: PlacementRequest, word: _Named, tally: Tally) -> Placement:
    fit = tally.fit(request)
    try:
        parameters = read_parameters(request.params) if request.params else Parameters()
    except ValueError as error:
        word = _Named(problem=str(error))
    if word.problem:
        return Placement(request.group, None, word.problem, fit.factors, permanent=True)
    facility, why = word.facility, word.why
    if facility is None:
        facility, why = _home(request, parameters, fit, tally)
    if facility is not None:
        factors = (*fit.factors, Factor(facility, "chosen", 1.0, True, why))
        if facility in fit.good:
            if word.facility is None:
                tally.bind(request, facility)
            return _decide(request, facility, why, factors, tally)
        reason = f"{facility} is asked for ({why}), but {fit.why_not(facility)}"
        lasting = facility not in fit.waits
        return Placement(request.group, None, reason, factors, permanent=lasting)
    if request.algorithm == "pinned" and len(request.facilities or tally.views) > 1:
        reason = (
            "the placement algorithm is 'pinned' and no pin names this group's data; "
            "add a pin or choose another algorithm"
        )
        return Placement(request.group, None, reason, fit.factors, permanent=True)
    return _freely(request, parameters, fit, tally)


def _home(
    request: PlacementRequest, parameters: Parameters, fit: Fit, tally: Tally
) -> tuple[str | None, str]:
    """The facility of the group's region and why, or None if it may go anywhere."""
    if request.region is None:
        return None, ""
    decided = tally.regions.get((request.campaign, request.region))
    home = decided or request.region_at
    if home is None:
        return None, ""
    may_leave = decided is None and parameters.when_down == "replace" and not _ran(request)
    if home not in fit.good and may_leave:
        return None, ""
    return home, f"its region {request.region} is there"


def _ran(request: PlacementRequest) -> bool:
    """Whether the region has anything to lose; who does not know must say yes."""
    return request.region_ran is not False


def _freely(request: PlacementRequest, parameters: Parameters, fit: Fit, tally: Tally) -> Placement:
    """By the algorithm, among those that fit this group and, if any does, its region's others."""
    names = fit.good
    if request.region is not None:
        common = tally.common.get((request.campaign, request.region), set())
        names = tuple(name for name in names if name in common) or names
    if not names:
        lasting = not fit.waits
        return Placement(request.group, None, fit.words(), fit.factors, permanent=lasting)
    if request.shares:
        holders = tuple(name for name in names if request.shares.get(name, 0.0) > 0)
        if not holders:
            return _no_share(request, names, fit)
        names = holders
    scored = weigh(request, names, tally)
    best, reason, more = best_of(scored, request.former, parameters.margin)
    factors = [*fit.factors]
    for each in scored:
        factors += each.factors
    factors += more
    tally.bind(request, best.name)
    return _decide(request, best.name, reason, tuple(factors), tally)


def _no_share(request: PlacementRequest, names: tuple[str, ...], fit: Fit) -> Placement:
    """Only facilities fit that the campaign gives no share: a person has chosen so."""
    none = tuple(
        Factor(name, "share", 0.0, False, "the campaign gives it no share") for name in names
    )
    whole = Fit(fit.asked, (*fit.factors, *none), (), fit.waits)
    late = any(request.shares.get(name, 0.0) > 0 for name in fit.waits)
    return Placement(request.group, None, whole.words(), whole.factors, permanent=not late)


def _decide(
    request: PlacementRequest,
    facility: str,
    reason: str,
    factors: tuple[Factor, ...],
    tally: Tally,
) -> Placement:
    tally.decided(request, facility)
    claims = storage_need(request, facility)
    return Placement(request.group, facility, reason, factors, claims=claims)


def _named(request: PlacementRequest) -> _Named:
    """The facility a person has named for this group."""
    if request.at is not None:
        return _Named(request.at, request.at_why or "the step says at")
    if not request.pins:
        return _NOBODY
    data = request.share.get("data") or request.share
    values = data.get("values") if isinstance(data, Mapping) else None
    by_dimension = values if isinstance(values, Mapping) else {}
    try:
        found = [
            facility
            for facility, text in request.pins.items()
            if read_pin_once(text).touches(request.region, by_dimension)
        ]
    except ValueError as error:
        return _Named(problem=str(error))
    if len(found) > 1:
        return _Named(
            problem=f"its data are pinned to {' and to '.join(sorted(found))}; "
            "make the groups smaller or change the pins"
        )
    if not found:
        return _NOBODY
    return _Named(found[0], f"pinned by {request.pins[found[0]]}", pinned=True)
