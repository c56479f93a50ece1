"""Placing: READY groups get a facility, in sets, from the selector of their step's algorithm."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import structlog

from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.lanes import Lanes
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import FacilityInfo, FacilityView, Placement, PlacementRequest
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.states import Desired, GroupState, JobKind
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

SET_SIZE = 1000
"""Groups placed by one question at most."""

SELECT_S = 60.0
"""Seconds a selector may take."""


class Placing:
    """Asks selectors. Decisions come back as events; a group that is asked for twice is placed once."""

    def __init__(
        self,
        view: View,
        facilities: Mapping[str, FacilityInfo],
        lanes: Lanes,
        plugins: Plugins,
        clock: Clock,
        post: Callable[[ev.Event], None],
    ) -> None:
        self._view = view
        self._facilities = facilities
        self._lanes = lanes
        self._plugins = plugins
        self._clock = clock
        self._post = post
        self._ready: dict[int, None] = {}
        self._wanted = asyncio.Event()
        self._parked: dict[int, list[int]] = {}
        self._placed: dict[int, dict[str, int]] = {}
        self.regions: dict[int, dict[str, str]] = {}

    def note(self, group: Group) -> None:
        """Take in a group that has changed."""
        if group.state is GroupState.READY:
            if group.due_at is None:
                self._ready[group.id] = None
                self._wanted.set()
        elif group.state is GroupState.PLACED and group.facility is not None:
            counts = self._placed.setdefault(group.campaign_id, {})
            counts[group.facility] = counts.get(group.facility, 0) + 1
            if group.region is not None:
                self.regions.setdefault(group.campaign_id, {})[group.region] = group.facility

    def resume(self, campaign_id: int) -> None:
        """A campaign may go on."""
        for ident in self._parked.pop(campaign_id, ()):
            self._ready[ident] = None
        self._wanted.set()

    async def run(self) -> None:
        """Place, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            by_algorithm: dict[str, list[Group]] = {}
            for ident in list(self._ready)[:SET_SIZE]:
                del self._ready[ident]
                group = self._view.groups.get(ident)
                if group is None or group.state is not GroupState.READY:
                    continue
                if self._view.campaigns[group.campaign_id].desired is not Desired.RUN:
                    self._parked.setdefault(group.campaign_id, []).append(ident)
                    continue
                algorithm = self._view.steps[group.step_id].policy.placement.algorithm
                by_algorithm.setdefault(algorithm, []).append(group)
            if self._ready:
                self._wanted.set()
            for algorithm, groups in by_algorithm.items():
                await self._place(algorithm, groups)
            await asyncio.sleep(0)

    async def _place(self, algorithm: str, groups: list[Group]) -> None:
        selector = self._plugins.selectors.get(algorithm)
        if selector is None:
            words = f"no plugin brings the placement algorithm {algorithm!r}"
            self._refuse(groups, algorithm, words, permanent=True)
            return
        campaigns = {group.campaign_id for group in groups}
        views = self.facility_views(campaigns)
        requests = [self._request(group, algorithm) for group in groups]
        try:
            answers = await asyncio.wait_for(selector.select(requests, views), SELECT_S)
            if len(answers) != len(requests):
                raise ValueError(f"{len(answers)} answers to {len(requests)} requests")
        except Exception as error:
            log.exception("a selector failed", algorithm=algorithm)
            words = f"the selector for {algorithm!r} failed: {type(error).__name__}: {error}"
            self._refuse(groups, algorithm, words, permanent=False)
            return
        for group, answer in zip(groups, answers, strict=True):
            self._tell(group, algorithm, answer)

    def _tell(self, group: Group, algorithm: str, answer: Placement) -> None:
        factors = json.dumps([asdict(factor) for factor in answer.factors])
        if answer.facility is None or answer.facility not in self._facilities:
            words = answer.reason
            if answer.facility is not None:
                words = f"the selector named {answer.facility!r}, which is no facility here"
            self._post(
                ev.GroupNotPlaced(
                    group_id=group.id,
                    message=words,
                    permanent=answer.permanent,
                    algorithm=algorithm,
                    factors=factors,
                )
            )
            return
        drivers = self._facilities[answer.facility].drivers
        self._post(
            ev.GroupPlaced(
                group_id=group.id,
                facility=answer.facility,
                drivers={str(kind): name for kind, name in drivers.items()},
                algorithm=algorithm,
                factors=factors,
                reason=answer.reason,
            )
        )

    def _refuse(self, groups: Sequence[Group], algorithm: str, words: str, permanent: bool) -> None:
        for group in groups:
            self._post(
                ev.GroupNotPlaced(
                    group_id=group.id, message=words, permanent=permanent, algorithm=algorithm
                )
            )

    def _request(self, group: Group, algorithm: str) -> PlacementRequest:
        step = self._view.steps[group.step_id]
        plan, asked = step.policy.placement, step.policy.resources
        regions = self.regions.get(group.campaign_id, {})
        return PlacementRequest(
            campaign=self._view.campaigns[group.campaign_id].name,
            step=step.name,
            group=group.name,
            algorithm=algorithm,
            facilities=plan.facilities,
            at=plan.at,
            shares=plan.shares,
            pins=plan.pins,
            region=group.region,
            region_at=regions.get(group.region) if group.region is not None else None,
            share=json.loads(group.share),
            memory=asked.memory,
            cores=asked.cores,
            walltime_s=asked.walltime_s,
            stack=step.policy.stack,
            butler=step.policy.butler,
        )

    def facility_views(self, campaigns: set[int]) -> list[FacilityView]:
        """All facilities at this moment; `placed` counts the groups of these campaigns."""
        now = self._clock.now()
        views = []
        for name, info in self._facilities.items():
            up, reason, running, queued = True, "", 0, 0
            if name in self._lanes.drained:
                up, reason = False, "drained"
            for lane in self._lanes.lanes.values():
                if lane.facility != name:
                    continue
                running += len(lane.flying)
                queued += len(lane.queue)
                works = info.drivers.get(JobKind.PROCESS) == lane.name
                if works and up and lane.breaker.state(now) == "open":
                    up, reason = False, f"driver {lane.name} fails: {lane.breaker.message}"
            placed = sum(self._placed.get(ident, {}).get(name, 0) for ident in campaigns)
            views.append(FacilityView(info, up, reason, running, queued, {"groups": placed}))
        return views
