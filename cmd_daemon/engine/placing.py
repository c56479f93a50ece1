"""Placing: READY groups get a facility, in sets, from the selector of their step's algorithm."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from sys import intern

import structlog

from cmd_daemon.engine.answers import MOST, Nonsense, checked_factors, words
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.inputs import UNTOLD, Inputs, Located
from cmd_daemon.engine.orders import templates_of
from cmd_daemon.engine.pace import Pace
from cmd_daemon.engine.questions import Live, Questions
from cmd_daemon.engine.regions import Regions
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.placement import FacilityView, Placement
from cmd_daemon.hooks.ports import FacilityInfo, Host
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Group
from cmd_daemon.kernel.records import AttemptRow, PlacedBefore
from cmd_daemon.kernel.states import Desired, GroupState
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

SET_SIZE = 1000
"""Groups placed by one question at most."""

SELECT_S = 60.0
"""Seconds a selector may take."""

ASIDE_S = 6.0
"""Seconds a locator may take while a person waits for the answer."""

RECALL_S = 5.0
"""Pause between two looks for groups that wait at facilities that take no work."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A selector's answer to a question that changes nothing: its factors as JSON, and what was known
    of the inputs."""

    placement: Placement
    factors: str
    located: Located


class Placing:
    """Asks selectors. Decisions come back as events; a group that is asked for twice is placed once."""

    def __init__(
        self,
        view: View,
        facilities: Mapping[str, FacilityInfo],
        live: Live,
        plugins: Plugins,
        host: Host,
        clock: Clock,
        post: Callable[[ev.Event], None],
        decided: Callable[[], Awaitable[None]],
    ) -> None:
        self._view = view
        self._facilities = facilities
        self._live = live
        self._plugins = plugins
        self._clock = clock
        self._post = post
        self._decided = decided
        self._pace = Pace()
        self._where = Regions(view)
        self.inputs = Inputs(view, plugins, host)
        self._questions = Questions(view, facilities, live, self._where, self._pace, clock)
        self._ready: dict[str, dict[int, None]] = {}
        self._busy: set[str] = set()
        self._wanted = asyncio.Event()
        self._parked: dict[int, list[int]] = {}

    @property
    def regions(self) -> Mapping[int, Mapping[str, str]]:
        """Where each region has been placed, by campaign."""
        return self._where.of

    def placed(self, campaign_id: int) -> Mapping[str, int]:
        """How many of a campaign's groups are at each facility, those that are over too."""
        return self._where.at(campaign_id).counts

    def load(self, campaign_id: int, before: PlacedBefore) -> None:
        """What was placed before this daemon started; before its groups are adopted."""
        self._where.load(campaign_id, before)

    def adopt(self, group: Group) -> None:
        """Take in a group read back at start."""
        self._where.adopt(group)
        self._queue(group)

    def note(self, group: Group) -> None:
        """Take in a group that has changed."""
        self._where.note(group)
        self._queue(group)

    def note_attempts(self, attempts: Sequence[AttemptRow]) -> None:
        """Take in attempts that have ended."""
        for row in attempts:
            if row.state == "SUCCEEDED":
                self._pace.count(row.facility, self._clock.now())

    def forget(self, campaign_id: int) -> None:
        """The campaign is archived: no group of it will ever be asked about again."""
        self._where.forget(campaign_id)
        self._parked.pop(campaign_id, None)

    def facility_views(self, campaigns: Collection[int]) -> list[FacilityView]:
        """All facilities at this moment; `placed` counts the groups of these campaigns."""
        return self._questions.facility_views(campaigns)

    def _queue(self, group: Group) -> None:
        if group.state is GroupState.READY and group.due_at is None:
            self._want(group)

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
            tasks.create_task(self._recall())
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
        located = await self.inputs.locate(groups, self._questions.facilities_of(groups))
        # A person may have moved some of them while the inputs were looked for.
        groups = [self._view.groups[g.id] for g in groups if g.id in self._view.groups]
        requests = [self._questions.request(group, located.get(group.id)) for group in groups]
        views = self._questions.facility_views({group.campaign_id for group in groups})
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
                log.exception(
                    "a placement made no sense",
                    algorithm=algorithm,
                    group=group.name,
                )
                problem = f"the selector for {algorithm!r} answered {words(answer)}"
                self._refuse([group], algorithm, problem, permanent=False)

    def _tell(self, group: Group, algorithm: str, answer: Placement) -> None:
        factors = checked_factors(answer.factors)
        reason = intern(words(answer.reason))  # very many groups keep the same few
        facility = answer.facility
        if facility is not None and facility not in self._facilities:
            reason = f"the selector named {words(facility)}, which is no facility here"
            facility = None
        elif facility is not None and group.pinned not in (None, facility):
            reason = f"the selector named {facility}, but a person moved it to {group.pinned}"
            facility = None
        if facility is None:
            self._post(
                ev.GroupNotPlaced(
                    group_id=group.id,
                    message=reason,
                    permanent=bool(answer.permanent) and answer.facility is None,
                    algorithm=algorithm,
                    factors=factors,
                    pinned=group.pinned,
                )
            )
            return
        drivers = self._facilities[facility].drivers
        self._where.claim(group.id, facility, _claims(answer))
        self._post(
            ev.GroupPlaced(
                group_id=group.id,
                facility=facility,
                drivers={str(kind): name for kind, name in drivers.items()},
                algorithm=algorithm,
                factors=factors,
                reason=reason,
                pinned=group.pinned,
            )
        )

    def _refuse(
        self, groups: Sequence[Group], algorithm: str, problem: str, permanent: bool
    ) -> None:
        for group in groups:
            self._post(
                ev.GroupNotPlaced(
                    group_id=group.id,
                    message=problem,
                    permanent=permanent,
                    algorithm=algorithm,
                    pinned=group.pinned,
                )
            )

    # --- facilities that take no work --------------------------------------------------------

    async def _recall(self) -> None:
        """Groups that wait to begin at a facility that takes no work are placed again, for ever, where
        their file says so and nothing of their region has begun there. The others wait."""
        while True:
            await self._clock.wait(RECALL_S)
            for name in list(self._where.placed):
                up, why = self._live.up(name) if name in self._facilities else (False, "unknown")
                if up:
                    continue
                for ident in list(self._where.placed[name]):
                    group = self._view.groups.get(ident)
                    if group is not None and self._may_leave(group, name):
                        reason = f"{name} takes no work ({why}): placed again"
                        self._post(ev.GroupRecalled(group_id=ident, facility=name, reason=reason))
            await self._decided()

    def waits_for_facility(self, group: Group) -> str:
        """Why a group that has not begun stays at a facility that takes no work; "" if its file gives
        it another facility."""
        plan = self._view.steps[group.step_id].policy.placement
        if group.pinned is not None:
            return "a person moved it there"
        if plan.at is not None:
            return "the step says at"
        if plan.params.get("when_down") != "replace":
            return "placement.when_down is wait"
        if group.facility is not None and self._where.ran(group, group.facility):
            return f"its region {group.region} has begun there"
        return ""

    def _may_leave(self, group: Group, facility: str) -> bool:
        if self.waits_for_facility(group):
            return False
        if self._view.campaigns[group.campaign_id].desired is not Desired.RUN:
            return False
        others = self._view.steps[group.step_id].policy.placement.facilities or self._facilities
        return any(
            name != facility and name in self._facilities and self._live.up(name)[0]
            for name in others
        )

    # --- questions that change nothing -------------------------------------------------------

    async def ask_aside(
        self, group: Group, at: str | None = None, exclude: Collection[str] = ()
    ) -> Aside:
        """Where a group would be placed now: `at` one facility only, or without those of `exclude`.
        Changes nothing; a selector that fails or breaks the question's terms gives a placement
        nowhere, in words."""
        algorithm = self._view.steps[group.step_id].policy.placement.algorithm
        wanted = dict.fromkeys(self._questions.facilities_of([group]))
        if at is not None:
            wanted[at] = None
        located = (await self.inputs.locate([group], list(wanted), ASIDE_S)).get(group.id, UNTOLD)
        why = "a person asks to move it there" if at is not None else ""
        request = self._questions.request(group, located, at, why, exclude)
        views = self._questions.facility_views({group.campaign_id})
        selector = self._plugins.selectors.get(algorithm)
        if selector is None:
            problem = f"no plugin brings the placement algorithm {algorithm!r}"
            return Aside(Placement(group.name, None, problem, permanent=True), "[]", located)
        try:
            (answer,) = await contained(selector.select([request], views), SELECT_S)
            factors = checked_factors(answer.factors)
            reason = words(answer.reason)
        except Exception as error:
            log.exception("a selector failed", algorithm=algorithm)
            told = words(f"{type(error).__name__}: {error}")
            problem = f"the selector for {algorithm!r} failed: {told}"
            return Aside(Placement(group.name, None, problem), "[]", located)
        facility = answer.facility
        if facility is not None and (
            facility not in self._facilities
            or facility in exclude
            or request.at not in (None, facility)
        ):
            reason = f"the selector for {algorithm!r} named {words(facility)} all the same"
            facility = None
        permanent = bool(answer.permanent) and facility is None
        placement = Placement(group.name, facility, reason, answer.factors, permanent)
        return Aside(placement, factors, located)

    def region_dropped(self, group: Group, exclude: Collection[str]) -> str:
        """The facility of the group's region if it is among those left out of a question; else ""."""
        region_at = self._where.region_at(group)
        return region_at if region_at is not None and region_at in exclude else ""

    def lacking_driver(self, group: Group, facility: str) -> str:
        """The first kind of job of a group that a facility has no driver for; "" if there is none."""
        step = self._view.steps[group.step_id]
        drivers = self._facilities[facility].drivers
        share = json.loads(group.share)
        for template in templates_of(share, step.policy.jobs):
            if template.driver is None and template.kind not in drivers:
                return str(template.kind)
        return ""


def _claims(answer: Placement) -> int | None:
    if answer.claims is None:
        return None
    if not isinstance(answer.claims, int) or not 0 <= answer.claims <= MOST:
        raise Nonsense(f"the claimed bytes are {answer.claims!r:.200}")
    return answer.claims
