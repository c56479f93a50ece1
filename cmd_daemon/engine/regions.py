"""Where the groups are: the facility of each region, counts, claims, and who waits to begin.

Derived from the groups as they change, and at start from what the store knows of those that are over.
"""

from collections import Counter
from dataclasses import dataclass, field

from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.records import PlacedBefore
from cmd_daemon.kernel.states import FINAL_GROUP, GroupState
from cmd_daemon.kernel.view import View


@dataclass(slots=True)
class Places:
    """Where the groups of one campaign are and were: the facility of each region, groups by facility,
    and regions with the facilities at which any of their groups has begun."""

    regions: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    begun: set[tuple[str, str]] = field(default_factory=set)


class Regions:
    """Takes in every group that changes. O(1) a change."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._places: dict[int, Places] = {}
        self.of: dict[int, dict[str, str]] = {}
        """The facility of each region, by campaign."""
        self.former: dict[int, str] = {}
        """The last facility of groups that are at none now."""
        self.placed: dict[str, dict[int, None]] = {}
        """Groups that wait to begin, by facility."""
        self.claimed: Counter[str] = Counter()
        """Bytes that groups there, as far as anybody knows, need in all."""
        self._at: dict[int, str] = {}
        self._pinned: dict[int, str] = {}
        self._claims: dict[int, tuple[str, int]] = {}

    def load(self, campaign_id: int, before: PlacedBefore) -> None:
        """What was placed before this daemon started; before any `note` of the campaign's groups."""
        places = self.at(campaign_id)
        places.regions.update(before.regions)
        places.counts.update(before.counts)
        places.begun |= before.begun
        self.former.update(before.former)

    def adopt(self, group: Group) -> None:
        """A group read back at start: `load` has counted it already."""
        if group.facility is not None:
            self._at[group.id] = group.facility
        if group.pinned is not None:
            self._pinned[group.id] = group.pinned
        self.note(group)

    def at(self, campaign_id: int) -> Places:
        """What is known of one campaign."""
        found = self._places.get(campaign_id)
        if found is None:
            found = self._places[campaign_id] = Places()
            self.of[campaign_id] = found.regions
        return found

    def forget(self, campaign_id: int) -> None:
        """Let go of what is known of a campaign; its groups have come to their end."""
        self._places.pop(campaign_id, None)
        self.of.pop(campaign_id, None)

    def note(self, group: Group) -> None:
        """Take in a group that has changed."""
        ident, facility = group.id, group.facility
        was = self._at.get(ident)
        if was != facility:
            self._shift(group, was, facility)
        if group.pinned is not None and self._pinned.get(ident) != group.pinned:
            self._pinned[ident] = group.pinned
            self._bind(group, group.pinned)
        if facility is None:
            if group.state in FINAL_GROUP:
                self._forget(group)
            return
        if group.state is GroupState.PLACED:
            self.placed.setdefault(facility, {})[ident] = None
            return
        self.placed.get(facility, {}).pop(ident, None)
        if group.started_at is not None and group.region is not None:
            self.at(group.campaign_id).begun.add((group.region, facility))
        if group.state in FINAL_GROUP:
            self._forget(group)

    def _shift(self, group: Group, was: str | None, now: str | None) -> None:
        """The group has been placed, or has left its facility."""
        ident, counts = group.id, self.at(group.campaign_id).counts
        if was is not None:
            counts[was] -= 1
            self.former[ident] = was
            self._at.pop(ident, None)
            self.placed.get(was, {}).pop(ident, None)
            self._release(ident, was)
        if now is not None:
            counts[now] += 1
            self._at[ident] = now
            self.former.pop(ident, None)
            self._bind(group, now)
            claim = self._claims.get(ident)
            if claim is not None and claim[0] == now:
                self.claimed[now] += claim[1]

    def _bind(self, group: Group, facility: str) -> None:
        """The group's region is there from now on; steps that say `at` say nothing of regions."""
        plan = self._view.steps[group.step_id].policy.placement
        if group.region is not None and plan.at is None:
            self.at(group.campaign_id).regions[group.region] = facility

    def claim(self, ident: int, facility: str, amount: int | None) -> None:
        """The bytes a group will need at a facility; they count once it is placed there."""
        if ident in self._at:
            return
        self._claims.pop(ident, None)
        if amount:
            self._claims[ident] = (facility, amount)

    def _release(self, ident: int, facility: str) -> None:
        claim = self._claims.pop(ident, None)
        if claim is not None and claim[0] == facility:
            self.claimed[facility] -= claim[1]

    def _forget(self, group: Group) -> None:
        at = self._at.pop(group.id, None)
        if at is not None:
            self._release(group.id, at)
        self.former.pop(group.id, None)
        self._pinned.pop(group.id, None)
        self._claims.pop(group.id, None)

    def region_at(self, group: Group) -> str | None:
        """The facility of the group's region, if it has one."""
        if group.region is None:
            return None
        return self.at(group.campaign_id).regions.get(group.region)

    def ran(self, group: Group, facility: str) -> bool:
        """Whether any group of the group's region has begun at a facility."""
        return (group.region, facility) in self.at(group.campaign_id).begun
