"""What a selector is asked: the requests of groups, and the facilities as they are just now."""

import json
from collections.abc import Collection, Mapping
from typing import Protocol

from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.inputs import Located
from cmd_daemon.engine.pace import Pace
from cmd_daemon.engine.regions import Regions
from cmd_daemon.hooks.facilities import Storage
from cmd_daemon.hooks.placement import FacilityView, Link, PlacementRequest
from cmd_daemon.hooks.ports import FacilityInfo, Queue
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.view import View

MOVED = "a person moved it there"
TAPE = "TAPE"
"""In the name of a storage element: its room is no room to work in."""


class Live(Protocol):
    """Facilities as they are just now: see `LiveFacilities`."""

    def up(self, name: str) -> tuple[bool, str]: ...

    def load(self, name: str) -> tuple[int, int]: ...

    def classes(self, name: str) -> tuple[Queue, ...]: ...

    def storage(self, name: str) -> tuple[Storage, ...]: ...

    def backlog(self, name: str) -> Mapping[str, int]: ...


class Questions:
    """Makes requests and views from what the engine knows."""

    def __init__(
        self,
        view: View,
        facilities: Mapping[str, FacilityInfo],
        live: Live,
        regions: Regions,
        pace: Pace,
        clock: Clock,
    ) -> None:
        self._view = view
        self._facilities = facilities
        self._live = live
        self._regions = regions
        self._pace = pace
        self._clock = clock

    def request(
        self,
        group: Group,
        located: Located | None = None,
        at: str | None = None,
        at_why: str = "",
        exclude: Collection[str] = (),
    ) -> PlacementRequest:
        """The request for a group. `at` asks for one facility in place of the pin and the step's own;
        a region at a facility that is in `exclude` counts as placed nowhere."""
        step = self._view.steps[group.step_id]
        plan, asked = step.policy.placement, step.policy.resources
        region_at = self._regions.region_at(group)
        if region_at in exclude:
            region_at = None
        if at is None and group.pinned is not None:
            at, at_why = group.pinned, MOVED
        return PlacementRequest(
            campaign=self._view.campaigns[group.campaign_id].name,
            step=step.name,
            group=group.name,
            algorithm=plan.algorithm,
            facilities=plan.facilities,
            at=at or plan.at,
            shares=plan.shares,
            pins=plan.pins,
            region=group.region,
            region_at=region_at,
            share=json.loads(group.share),
            memory=asked.memory,
            cores=asked.cores,
            walltime_s=asked.walltime_s,
            stack=step.policy.stack,
            butler=step.policy.butler,
            inputs=located.held if located is not None else {},
            inputs_total=located.total if located is not None else None,
            former=group.facility or self._regions.former.get(group.id),
            region_ran=self._regions.ran(group, region_at) if region_at is not None else None,
            exclude=frozenset(exclude),
            params=plan.params,
            at_why=at_why,
        )

    def facilities_of(self, groups: Collection[Group]) -> list[str]:
        """The facilities that any of these groups may run at, in the configuration's order."""
        wanted: set[str] = set()
        for group in groups:
            plan = self._view.steps[group.step_id].policy.placement
            wanted.update(plan.facilities or self._facilities)
            wanted.update(name for name in (plan.at, group.pinned) if name is not None)
        return [name for name in self._facilities if name in wanted]

    def facility_views(self, campaigns: Collection[int]) -> list[FacilityView]:
        """All facilities at this moment; `placed` counts the groups of these campaigns."""
        now = self._clock.now()
        views = []
        for name, info in self._facilities.items():
            up, reason = self._live.up(name)
            running, queued = self._live.load(name)
            free, total = self._room(name)
            placed_by = {
                self._view.campaigns[ident].name: self._regions.at(ident).counts[name]
                for ident in campaigns
            }
            views.append(
                FacilityView(
                    info=info,
                    up=up,
                    reason=reason,
                    running=running,
                    queued=queued,
                    placed={"groups": sum(placed_by.values())},
                    placed_by=placed_by,
                    queues=self._live.classes(name),
                    free_bytes=free,
                    total_bytes=total,
                    claimed_bytes=self._regions.claimed[name],
                    throughput=self._pace.an_hour(name, now) if running or queued else None,
                    links=_links(info.links, self._live.backlog(name)),
                )
            )
        return views

    def _room(self, name: str) -> tuple[int | None, int | None]:
        """Free and all bytes of a facility's disks. Elements at one path are one disk."""
        disks = {
            each.path: each for each in self._live.storage(name) if TAPE not in each.name.upper()
        }.values()
        free = [each.free_bytes for each in disks if each.free_bytes is not None]
        total = [each.total_bytes for each in disks if each.total_bytes is not None]
        return sum(free) if free else None, sum(total) if total else None


def _links(told: Mapping[str, float] | None, backlog: Mapping[str, int]) -> dict[str, Link] | None:
    if told is None:
        return None
    return {
        source: Link(bytes_per_s=rate or None, backlog_bytes=backlog.get(source, 0))
        for source, rate in told.items()
    }
