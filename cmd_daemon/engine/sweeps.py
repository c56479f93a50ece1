"""Sweeps: what a wish about a whole campaign or facility means for its groups, told in sets.

Whatever a crash cuts off is swept after the restart: the wish is stored.
"""

from collections.abc import Callable, Collection, Sequence

from cmd_daemon.engine.lanes import Lanes
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.states import Desired
from cmd_daemon.kernel.view import View

SWEEP = 500
"""Groups in one event."""


class Sweeps:
    """Posts the events that reach the groups of a campaign or a facility."""

    def __init__(self, view: View, lanes: Lanes, post: Callable[[ev.Event], None]) -> None:
        self._view = view
        self._lanes = lanes
        self._post = post

    def campaign(self, campaign_id: int) -> None:
        """All groups of a campaign that is cancelled."""
        for part in _slices(self._view.open_groups(campaign_id)):
            self._post(ev.GroupsSwept(campaign_id=campaign_id, group_ids=part))

    def outside(self, campaigns: Collection[int]) -> None:
        """The groups with an attempt outside, of campaigns that are paused or resumed. What is taken
        outside later is seen to by the kernel. O(attempts outside)."""
        found: dict[int, list[int]] = {}
        for lane in self._lanes.lanes.values():
            for ident in lane.running:
                job = self._view.jobs.get(ident)
                if job is not None and job.campaign_id in campaigns:
                    found.setdefault(job.campaign_id, []).append(job.group_id)
        for campaign_id, groups in found.items():
            for part in _slices(groups):
                self._post(ev.GroupsSwept(campaign_id=campaign_id, group_ids=part))

    def facility(self, facility: str) -> None:
        """The groups of a facility that was killed or is revived."""
        for part in _slices(self._view.groups_at(facility)):
            self._post(ev.FacilitySwept(facility=facility, group_ids=part))

    def pick_up(self) -> None:
        """Every sweep that may have been cut off, after a restart."""
        going: set[int] = set()
        for campaign in self._view.campaigns.values():
            if campaign.desired is Desired.CANCEL:
                self.campaign(campaign.id)
            else:
                going.add(campaign.id)
        self.outside(going)
        for facility, state in self._view.facilities.items():
            if state.killed or state.reviving:
                self.facility(facility)


def _slices(groups: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(groups[start : start + SWEEP]) for start in range(0, len(groups), SWEEP)]
