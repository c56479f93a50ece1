"""Sets of groups whose placement needs every filter and factor, for what a decision costs."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from placement_cases import GB, NAMES, REQUEST, SHARES, TB, queue, three

from cmd_daemon.hooks import FacilityView, PlacementRequest
from cmd_daemon.hooks.placement import Held, Link


def _pinned(number: int) -> dict[str, Any]:
    """A group that pins are looked up for."""
    return {
        "pins": {"FrDF": "tract IN (5, 10..100)", "USDF": "tract = 9"},
        "share": {"data": {"values": {"tract": [number]}}},
    }


def _with_inputs(number: int) -> dict[str, Any]:
    """A group whose inputs are like no other's."""
    held = Held(100 + number, TB + number)
    return {"inputs": {NAMES[number % 3]: held}, "inputs_total": held, "output_bytes": TB}


KINDS: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "plain": lambda _: {},
    "pins": _pinned,
    "regions": lambda number: {"region": f"tract/{number // 5}"},
    "inputs": _with_inputs,
}


def costly(kind: str, groups: int) -> tuple[list[PlacementRequest], list[FacilityView]]:
    """So many groups of one of KINDS, and three facilities with queues, disk, links and history."""
    requests = [
        replace(REQUEST, group=str(number), shares=SHARES, **KINDS[kind](number))
        for number in range(groups)
    ]
    more = {
        "queues": (queue(4 * GB), queue(200 * GB, cores=8)),
        "free_bytes": 10**6 * TB,
        "links": {name: Link(1e8) for name in NAMES},
        "throughput": 100.0,
    }
    return requests, three(**dict.fromkeys(NAMES, more))
