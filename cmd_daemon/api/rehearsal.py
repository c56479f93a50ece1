"""The rehearsal of a campaign file: splitters, locators and selectors are asked as they would be, with
the facilities as they are now. Nothing is changed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import structlog

from cmd_daemon.api.service import Room
from cmd_daemon.engine.answers import words
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.inputs import UNTOLD, Located
from cmd_daemon.engine.placing import SELECT_S, SET_SIZE
from cmd_daemon.engine.splitting import ask_splitter, has_agent
from cmd_daemon.hooks.facilities import InputsRequest
from cmd_daemon.hooks.placement import FacilityView, PlacementRequest
from cmd_daemon.hooks.ports import DataShare, SplitRequest
from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.spec import CampaignPlan, WouldRun
from cmd_daemon.spec.queries import joined

log = structlog.get_logger()


class Rehearsal:
    """Asks for one campaign file what the engine would ask; groups placed so far count as placed."""

    def __init__(self, room: Room, plan: CampaignPlan) -> None:
        self._room = room
        self._plan = plan
        self._placed: Counter[str] = Counter()

    def can_tell(self, facility: str) -> bool:
        """Whether the facility's Butler can be asked."""
        return has_agent(self._room.host, facility)

    def regions(self) -> Mapping[str, str]:
        """Where the campaign's regions are, if it is there already."""
        engine = self._room.engine
        for campaign in engine.view.campaigns.values():
            if campaign.name == self._plan.name:
                return dict(engine.placing.regions.get(campaign.id, {}))
        return {}

    async def split(self, request: SplitRequest) -> Sequence[DataShare]:
        """The shares of a step. Raises DriverError."""
        name = self._plan.steps[request.step].split.splitter
        return await ask_splitter(self._room.plugins.splitters, name, request, self._room.host)

    async def place(
        self,
        step: str,
        policy: StepPolicy,
        shares: Sequence[DataShare],
        regions: Mapping[str, str],
    ) -> Sequence[WouldRun]:
        """Where the shares would run now; what cannot be answered says why."""
        inputs = await self._inputs(policy, shares)
        now = dict(regions)
        answers: list[WouldRun] = []
        for start in range(0, len(shares), SET_SIZE):
            page = shares[start : start + SET_SIZE]
            for share, answer in zip(
                page, await self._select(step, policy, page, now, inputs), strict=True
            ):
                answers.append(answer)
                if answer.facility is not None:
                    self._placed[answer.facility] += 1
                    if share.region is not None:
                        now.setdefault(share.region, answer.facility)
        return answers

    async def _inputs(
        self, policy: StepPolicy, shares: Sequence[DataShare]
    ) -> Mapping[str, Located]:
        """What facilities hold of the inputs; nothing if nobody asks for any."""
        plan = policy.placement
        if not plan.inputs:
            return {}
        requests = [
            InputsRequest(
                group=share.name,
                butler=policy.butler,
                collections=policy.inputs,
                datasets=plan.inputs,
                where=joined(policy.where, share.where),
            )
            for share in shares
        ]
        return await self._room.engine.placing.inputs.ask(requests, plan.facilities)

    async def _select(
        self,
        step: str,
        policy: StepPolicy,
        shares: Sequence[DataShare],
        regions: Mapping[str, str],
        inputs: Mapping[str, Located],
    ) -> Sequence[WouldRun]:
        plan = policy.placement
        sizes = {name: each.total.bytes for name, each in inputs.items() if each.total is not None}
        selector = self._room.plugins.selectors.get(plan.algorithm)
        if selector is None:
            problem = f"no plugin brings the placement algorithm {plan.algorithm!r}"
            return [WouldRun(None, problem, sizes.get(share.name)) for share in shares]
        requests = [self._request(step, policy, share, regions, inputs) for share in shares]
        try:
            asked = selector.select(requests, self._views())
            told = list(await contained(asked, SELECT_S))
            if len(told) != len(requests):
                raise ValueError(f"{len(told)} answers to {len(requests)} requests")
        except Exception as error:
            log.exception("a selector failed", algorithm=plan.algorithm)
            problem = f"the selector for {plan.algorithm!r} failed: {words(error)}"
            return [WouldRun(None, problem, sizes.get(share.name)) for share in shares]
        return [
            WouldRun(
                each.facility if each.facility in self._room.facilities else None,
                words(each.reason),
                sizes.get(share.name),
            )
            for share, each in zip(shares, told, strict=True)
        ]

    def _request(
        self,
        step: str,
        policy: StepPolicy,
        share: DataShare,
        regions: Mapping[str, str],
        inputs: Mapping[str, Located],
    ) -> PlacementRequest:
        plan, asked = policy.placement, policy.resources
        known = inputs.get(share.name, UNTOLD)
        return PlacementRequest(
            campaign=self._plan.name,
            step=step,
            group=share.name,
            algorithm=plan.algorithm,
            facilities=plan.facilities,
            at=plan.at,
            shares=plan.shares,
            pins=plan.pins,
            region=share.region,
            region_at=regions.get(share.region) if share.region is not None else None,
            share=asdict(share),
            memory=asked.memory,
            cores=asked.cores,
            walltime_s=asked.walltime_s,
            stack=policy.stack,
            butler=policy.butler,
            inputs=known.held,
            inputs_total=known.total,
            params=plan.params,
        )

    def _views(self) -> list[FacilityView]:
        """The facilities as they are, with the groups that this rehearsal has placed."""
        return [
            replace(
                view,
                placed={"groups": self._placed[view.info.name]},
                placed_by={self._plan.name: self._placed[view.info.name]},
            )
            for view in self._room.engine.placing.facility_views(set())
        ]
