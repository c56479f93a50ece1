"""Facilities and groups for the placement tests: three facilities of unlike sizes, as in 2026."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cmd_daemon.hooks import FacilityView, Placement, PlacementRequest
from cmd_daemon.hooks.ports import Queue
from cmd_daemon.testing import facility_info
from cmd_facility.selector import FacilitySelector

GB = 10**9
TB = 10**12
NAMES = ("USDF", "FrDF", "UKDF")
SHARES = {"USDF": 0.35, "FrDF": 0.40, "UKDF": 0.25}
SLOTS = {"USDF": 6000, "FrDF": 3000, "UKDF": 7500}

REQUEST = PlacementRequest(
    campaign="c",
    step="s",
    group="g",
    algorithm="balanced",
    facilities=NAMES,
    at=None,
    shares={},
    pins={},
    region=None,
    region_at=None,
    share={},
    memory=4 * GB,
    cores=1,
    walltime_s=3600.0,
    stack="w_1",
    butler="dp2",
)


def view(
    name: str, *, up: bool = True, slots: int = 10, info: dict[str, Any] | None = None, **more: Any
) -> FacilityView:
    """A facility that fits REQUEST; `info` changes its configuration, `more` its view."""
    fields: dict[str, Any] = {"slots": slots, "stacks": {"w_1": "py"}, "butlers": {"dp2": "repo"}}
    reason = "" if up else "drained by pilot1"
    seen: dict[str, Any] = {"running": 0, "queued": 0, "placed": {}, **more}
    return FacilityView(facility_info(name, **{**fields, **(info or {})}), up, reason, **seen)


def queue(memory: int, **more: Any) -> Queue:
    """A memory class of ten slots."""
    return Queue(f"{memory // GB}G", slots=10, memory=memory, **more)


def three(**changes: dict[str, Any]) -> list[FacilityView]:
    """USDF, FrDF and UKDF; `changes` by name."""
    return [view(name, **{"slots": SLOTS[name], **changes.get(name, {})}) for name in NAMES]


def many(count: int, **changes: Any) -> list[PlacementRequest]:
    """Groups 0000.. that ask for the same."""
    request = replace(REQUEST, **changes)
    return [replace(request, group=f"{number:04d}") for number in range(count)]


async def select(
    requests: Sequence[PlacementRequest], views: Sequence[FacilityView]
) -> list[Placement]:
    """The decisions of a fresh selector."""
    return list(await FacilitySelector().select(requests, views))


async def place(views: Sequence[FacilityView], **changes: Any) -> Placement:
    """The decision for one group."""
    (found,) = await select([replace(REQUEST, **changes)], views)
    return found


def counted(placements: Sequence[Placement]) -> dict[str | None, int]:
    """Groups by facility."""
    return dict(Counter(each.facility for each in placements))


def factor(placement: Placement, facility: str, name: str) -> tuple[float, bool, str]:
    """Value, verdict and words of the one factor of that name at a facility."""
    (found,) = [
        each for each in placement.factors if (each.facility, each.name) == (facility, name)
    ]
    return found.value, found.passed, found.detail
