"""Weighing: the factors of the facilities that fit, their scores, and the choice among them."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from cmd_daemon.hooks import FacilityView, Factor, PlacementRequest
from cmd_facility import weights
from cmd_facility.filters import NOTHING, amount, not_judged, sources
from cmd_facility.tally import Tally

LEAST = 1e-300
"""Stands for zero where a logarithm is taken."""


class Scored(NamedTuple):
    """A facility with its factors. `score` is the logarithm of what the algorithm compares, `rest`
    of the product of all weights, which decides between equal scores."""

    name: str
    score: float
    rest: float
    factors: tuple[Factor, ...]


def weigh(request: PlacementRequest, names: Sequence[str], tally: Tally) -> list[Scored]:
    """The scores of the facilities that fit, in the order of `names`.

    `share` compares the share deficits alone, `locality` the part of the input bytes held there
    (the product, where the inputs are not known), every other algorithm the product
    share x throughput x locality x network.
    """
    deficits = _shares(request, names, tally)
    found = []
    for name in names:
        view = tally.views[name]
        deficit, exponent, share = deficits[name]
        load = tally.load(request, view)
        speed = _throughput(name, *load, tally.given[name], view.throughput)
        local = _locality(request, name)
        network = _network(request, view)
        rest = math.log(max(LEAST, share.value * speed.value * local.value * network.value))
        score, words, shown = rest, "share × throughput × locality × network", math.exp(rest)
        if request.algorithm == "share":
            score, words, shown = exponent, "the share deficit alone", deficit
        elif request.algorithm == "locality" and (part := _part_held(request, name)) is not None:
            shown = part
            score, words = math.log(max(LEAST, shown)), "the part of the input bytes held there"
        factors = (share, speed, local, network, Factor(name, "score", _round(shown), True, words))
        found.append(Scored(name, score, rest, factors))
    return found


def best_of(
    scored: Sequence[Scored], former: str | None, margin: float
) -> tuple[Scored, str, tuple[Factor, ...]]:
    """The chosen one, why, and the factor of the hysteresis if it was looked at.

    The largest score, then the largest product, then the first in the campaign's list. If the group's former
    facility is among them, a challenger must have more than (1 + margin) times its score: otherwise
    small changes of load would send data back and forth.
    """
    ranked = sorted(scored, key=lambda each: (-each.score, -each.rest))
    best = ranked[0]
    if len(ranked) == 1:
        return best, "the only facility that fits and takes work", ()
    if former is not None and former != best.name:
        for each in scored:
            if each.name != former:
                continue
            stays = best.score <= each.score + math.log1p(margin)
            words = (
                f"{best.name} scores {_times(best.score - each.score)} as much; "
                f"more than {1 + margin:g} times was needed"
            )
            factor = Factor(former, "hysteresis", 1.0 + margin, True, words)
            if stays:
                return each, f"stays where it was: {words}", (factor,)
            return best, f"leaves {former}: {words}", (factor,)
    shown = best.factors[-1]
    second = ranked[1]
    return (
        best,
        f"best score {shown.value:.4g} ({shown.detail}); "
        f"next {second.name} {second.factors[-1].value:.4g}",
        (),
    )


def _shares(
    request: PlacementRequest, names: Sequence[str], tally: Tally
) -> dict[str, tuple[float, float, Factor]]:
    """Deficit, exponent and factor of each facility, over those that fit."""
    shares: Mapping[str, float] = request.shares
    if not shares:
        if request.algorithm != "share":
            why = "the campaign names no shares"
            return {name: (0.0, 0.0, not_judged(name, "share", why)) for name in names}
        shares = dict.fromkeys(names, 1.0)
    counts = tally.counts(request.campaign)
    target = math.fsum(shares.get(name, 0.0) for name in names) or 1.0
    total = sum(counts[name] for name in names)
    found = {}
    for name in names:
        wanted = shares.get(name, 0.0) / target
        existing = counts[name] / total if total else 0.0
        deficit = weights.share_deficit(wanted, existing)
        exponent = weights.share_exponent(deficit, total)
        words = f"{counts[name]} of {total} groups there, its share is {wanted:.3f}"
        value = _round(weights.share_weight(exponent))
        found[name] = (deficit, exponent, Factor(name, "share", value, True, words))
    return found


@lru_cache(maxsize=65_536)
def _throughput(
    name: str, slots: int, running: int, queued: int, given: int, throughput: float | None
) -> Factor:
    value = weights.throughput_weight(slots, running, queued, given, throughput)
    pace = "pace unknown" if throughput is None else f"{throughput:g} jobs an hour lately"
    words = f"{running} running, {queued} queued, {given} just placed, {slots} slots, {pace}"
    return Factor(name, "throughput", _round(value), True, words)


def _locality(request: PlacementRequest, name: str) -> Factor:
    total = request.inputs_total
    if total is None:
        return not_judged(name, "locality", "nobody has counted the inputs")
    held = request.inputs.get(name, NOTHING)
    words = (
        f"{held.files} of {total.files} input files and "
        f"{amount(held.bytes)} of {amount(total.bytes)} there"
    )
    return Factor(name, "locality", _round(weights.locality_weight(held, total)), True, words)


def _part_held(request: PlacementRequest, name: str) -> float | None:
    if request.inputs_total is None:
        return None
    return weights.part_held(request.inputs.get(name, NOTHING), request.inputs_total)


def _network(request: PlacementRequest, view: FacilityView) -> Factor:
    name, total = view.info.name, request.inputs_total
    if total is None:
        return not_judged(name, "network", "nobody has counted the inputs")
    missing = total.bytes - request.inputs.get(name, NOTHING).bytes
    if missing <= 0:
        return _nothing_to_come(name)
    links = view.links or {}
    ways = [links[source] for source in sources(request, view)]
    value = weights.network_weight(missing, ways)
    if value is None:
        return not_judged(name, "network", "no link to it has been measured")
    words = f"{amount(missing)} have to come"
    return Factor(name, "network", _round(value), True, words)


@lru_cache(maxsize=1024)
def _nothing_to_come(name: str) -> Factor:
    return Factor(name, "network", 1.0, True, "nothing has to come")


def _round(value: float) -> float:
    return round(value, 6)


def _times(exponent: float) -> str:
    return f"{math.exp(exponent):.3g} times" if exponent < 20 else "far more than 1000 times"
