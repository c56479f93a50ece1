"""Placing: READY groups get a facility, in sets, from the selector of their step's algorithm."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from sys import intern

import structlog

from cmd_daemon.engine.answers import checked_factors, words
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.containment import contained
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
        decided: Callable[[], Awaitable[None]],
    ) -> None:
        self._view = view
        self._facilities = facilities
        self._lanes = lanes
        self._plugins = plugins
        self._clock = clock
        self._post = post
        self._decided = decided
        self._ready: dict[str, dict[int, None]] = {}
        self._busy: set[str] = set()
        self._wanted = asyncio.Event()
        self._parked: dict[int, list[int]] = {}
        self._placed: dict[int, dict[str, int]] = {}
        self.regions: dict[int, dict[str, str]] = {}

    def note(self, group: Group) -> None:
        """Take in a group that has changed."""
        if group.state is GroupState.READY:
            if group.due_at is None:
                self._want(group)
        elif group.state is GroupState.PLACED and group.facility is not None:
            counts = self._placed.setdefault(group.campaign_id, {})
            counts[group.facility] = counts.get(group.facility, 0) + 1
            pinned = self._view.steps[group.step_id].policy.placement.at is not None
            if group.region is not None and not pinned:
                self.regions.setdefault(group.campaign_id, {})[group.region] = group.facility

    def resume(self, campaign_id: int) -> None:
        """A campaign may go on."""
        for ident in self._parked.pop(campaign_id, ()):
            group = self._view.groups.get(ident)
            if group is not None:
                self._want(group)

    def _want(self, group: Group) -> None:
        algorithm = self._view.steps[group.step_id].policy.placement.algorithm
        self._ready.setdefault(algorithm, {})[group.id] = None
        self._wanted.set()

    async def run(self) -> None:
        """Place, for ever. One task an algorithm: a slow selector holds up nobody else's groups."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                for algorithm in self._ready.keys() - self._busy:
                    self._busy.add(algorithm)
                    tasks.create_task(self._serve(algorithm))

    async def _serve(self, algorithm: str) -> None:
        while self._ready[algorithm]:
            if groups := self._take(self._ready[algorithm]):
                await self._place(algorithm, groups)
            await self._decided()
        del self._ready[algorithm]
        self._busy.discard(algorithm)

    def _take(self, ready: dict[int, None]) -> list[Group]:
        """The next set of groups to place."""
        groups: list[Group] = []
        for ident in list(islice(ready, SET_SIZE)):
            del ready[ident]
            group = self._view.groups.get(ident)
            if group is None or group.state is not GroupState.READY:
                continue
            if self._view.campaigns[group.campaign_id].desired is not Desired.RUN:
                self._parked.setdefault(group.campaign_id, []).append(ident)
                continue
            groups.append(group)
        return groups

    async def _place(self, algorithm: str, groups: list[Group]) -> None:
        selector = self._plugins.selectors.get(algorithm)
        if selector is None:
            problem = f"no plugin brings the placement algorithm {algorithm!r}"
            self._refuse(groups, algorithm, problem, permanent=True)
            return
        campaigns = {group.campaign_id for group in groups}
        views = self.facility_views(campaigns)
        requests = [self._request(group, algorithm) for group in groups]
        try:
            answers = list(await contained(selector.select(requests, views), SELECT_S))
            if len(answers) != len(requests):
                raise ValueError(f"{len(answers)} answers to {len(requests)} requests")
        except Exception as error:
            log.exception("a selector failed", algorithm=algorithm)
            told = words(f"{type(error).__name__}: {error}")
            problem = f"the selector for {algorithm!r} failed: {told}"
            self._refuse(groups, algorithm, problem, permanent=False)
            return
        for group, answer in zip(groups, answers, strict=True):
            try:
                self._tell(group, algorithm, answer)
            except Exception:
                log.exception("a placement made no sense", algorithm=algorithm)
                problem = f"the selector for {algorithm!r} answered {words(answer)}"
                self._refuse([group], algorithm, problem, permanent=False)

    def _tell(self, group: Group, algorithm: str, answer: Placement) -> None:
        factors = checked_factors(answer.factors)
        reason = intern(words(answer.reason))  # very many groups keep the same few
        if answer.facility is None or answer.facility not in self._facilities:
            if answer.facility is not None:
                reason = f"the selector named {words(answer.facility)}, which is no facility here"
            self._post(
                ev.GroupNotPlaced(
                    group_id=group.id,
                    message=reason,
                    permanent=bool(answer.permanent),
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
                reason=reason,
            )
        )

    def _refuse(
        self, groups: Sequence[Group], algorithm: str, problem: str, permanent: bool
    ) -> None:
        for group in groups:
            self._post(
                ev.GroupNotPlaced(
                    group_id=group.id, message=problem, permanent=permanent, algorithm=algorithm
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
            placed_by = {
                self._view.campaigns[ident].name: self._placed.get(ident, {}).get(name, 0)
                for ident in campaigns
            }
            placed = {"groups": sum(placed_by.values())}
            views.append(
                FacilityView(info, up, reason, running, queued, placed, placed_by=placed_by)
            )
        return views
