"""What one question has decided so far, on top of what the facilities' views show."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cmd_daemon.hooks import FacilityView, PlacementRequest
from cmd_facility.filters import Fit, fitting_queues, static_fit, storage_need, with_data


class Tally:
    """The running counts of one call of `select`, so that a set of thousands is shared out as if its
    groups had been asked for one after the other."""

    def __init__(self, facilities: Sequence[FacilityView]) -> None:
        self.views = {view.info.name: view for view in facilities}
        self.given: Counter[str] = Counter()
        """Groups sent to each facility by this call."""
        self.claimed: Counter[str] = Counter()
        """Bytes claimed at each facility by this call."""
        self.regions: dict[tuple[str, str], str] = {}
        """Facilities of regions, by campaign and region, as decided by this call."""
        self.common: dict[tuple[str, str], set[str]] = {}
        """Facilities that fit every group of a region in this set."""
        self._counts: dict[str, dict[str, int]] = {}
        self._loads: dict[tuple[str, int, int, float], tuple[int, int, int]] = {}
        self._fits: dict[tuple[Any, ...], Fit] = {}

    def counts(self, campaign: str) -> dict[str, int]:
        """The campaign's groups at each facility, those of this call included."""
        found = self._counts.get(campaign)
        if found is None:
            found = {
                name: sum(view.placed.values())
                if view.placed_by is None
                else view.placed_by.get(campaign, 0)
                for name, view in self.views.items()
            }
            self._counts[campaign] = found
        return found

    def decided(self, request: PlacementRequest, facility: str) -> None:
        """Take a decision into account for the groups after it."""
        self.given[facility] += 1
        self.counts(request.campaign)[facility] += 1
        need = storage_need(request, facility)
        if need:
            self.claimed[facility] += need

    def static(self, request: PlacementRequest) -> Fit:
        """The filters that do not look at the group's data, once for all that ask for the same."""
        kind = (
            request.facilities,
            request.memory,
            request.cores,
            request.walltime_s,
            request.stack,
            request.butler,
            request.at,
            request.exclude,
            request.inputs_total is None and request.output_bytes is None,
        )
        found = self._fits.get(kind)
        if found is None:
            found = static_fit(request, self.views)
            if kind[-1]:
                found = with_data(found, request, self.views, {})
            self._fits[kind] = found
        return found

    def fit(self, request: PlacementRequest) -> Fit:
        """All filters for a request at this moment."""
        found = self.static(request)
        if request.inputs_total is None and request.output_bytes is None:
            return found
        return with_data(found, request, self.views, self.claimed)

    def load(self, request: PlacementRequest, view: FacilityView) -> tuple[int, int, int]:
        """Slots, running and queued jobs of the memory classes that could run a request, or of the
        whole facility where the classes are not known."""
        if not view.queues:
            return view.info.slots, view.running, view.queued
        kind = (view.info.name, request.memory, request.cores, request.walltime_s)
        found = self._loads.get(kind)
        if found is None:
            classes = fitting_queues(request, view)
            found = (
                sum(queue.slots for queue in classes),
                sum(queue.running for queue in classes),
                sum(queue.queued for queue in classes),
            )
            self._loads[kind] = found
        return found

    def bind(self, request: PlacementRequest, facility: str) -> None:
        """Tie a group's region to a facility for the rest of this call; the first word counts."""
        if request.region is not None:
            self.regions.setdefault((request.campaign, request.region), facility)
