"""Splitting: steps in PREPARING become groups, by the splitter their file names."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import structlog

from cmd_daemon.engine.answers import words
from cmd_daemon.engine.containment import contained
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import DataShare, DriverError, Host, SplitRequest, Splitter
from cmd_daemon.hooks.review import GroupReview
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Step
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.kernel.states import Desired, StepState
from cmd_daemon.kernel.view import View
from cmd_daemon.spec import share_problems, split_request

log = structlog.get_logger()

CHUNK = 500
"""Groups made by one event: the loop is never held up for long."""

SPLIT_S = 900.0
"""Seconds a splitter may take."""


async def ask_splitter(
    splitters: Mapping[str, Splitter], name: str, request: SplitRequest, host: Host
) -> list[DataShare]:
    """The shares. Raises DriverError, also for what the splitter did not class itself."""
    splitter = splitters.get(name)
    if splitter is None:
        raise DriverError(ErrorClass.PERMANENT, f"no plugin brings the splitter {name!r}")
    try:
        shares = list(await contained(splitter.split(request, host), SPLIT_S))
    except DriverError:
        raise
    except TimeoutError:
        raise DriverError(
            ErrorClass.TRANSIENT, f"splitter {name} did not answer in {SPLIT_S:.0f} s"
        ) from None
    except Exception as error:
        log.exception(
            "a splitter raised", splitter=name, campaign=request.campaign, step=request.step
        )
        problem = words(f"splitter {name} failed: {type(error).__name__}: {error}")
        raise DriverError(ErrorClass.PERMANENT, problem) from error
    return shares


def has_agent(host: Host, facility: str) -> bool:
    """Whether the Butler of a facility can be asked."""
    try:
        host.agent(facility)
    except DriverError:
        return False
    return True


class Splitting:
    """One task a step that is being split; nothing is stored until the shares come in as events."""

    def __init__(
        self,
        view: View,
        plugins: Plugins,
        host: Host,
        post: Callable[[ev.Event], None],
        decided: Callable[[], Awaitable[None]],
        regions: Callable[[int], Mapping[str, str]],
    ) -> None:
        """`regions` tells for a campaign where each of its regions has been placed so far."""
        self._view = view
        self._plugins = plugins
        self._host = host
        self._post = post
        self._decided = decided
        self._regions = regions
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def note(self, step: Step) -> None:
        """Take in a step that has changed."""
        if (
            step.state is not StepState.PREPARING
            or step.due_at is not None
            or step.id in self._tasks
            or self._view.campaigns[step.campaign_id].desired is not Desired.RUN
        ):
            return
        task = asyncio.create_task(self._split(step.id), name=f"split {step.name}")
        self._tasks[step.id] = task
        task.add_done_callback(lambda done: self._done(step.id, done))

    def _done(self, step_id: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(step_id) is task:
            del self._tasks[step_id]

    async def stop(self) -> None:
        """End all splitting; it is done again after a restart."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _split(self, step_id: int) -> None:
        step = self._view.steps[step_id]
        campaign = self._view.campaigns[step.campaign_id].name
        request = split_request(
            campaign,
            step.name,
            step.policy,
            self._regions(step.campaign_id),
            lambda facility: has_agent(self._host, facility),
        )
        try:
            shares = await ask_splitter(
                self._plugins.splitters, step.policy.split.splitter, request, self._host
            )
            if problems := share_problems(shares):
                raise DriverError(ErrorClass.PERMANENT, "; ".join(problems))
            groups: list[ev.NewGroup] = []
            shares.reverse()
            while shares:  # let go one by one: there may be very many
                groups.append(self._new_group(campaign, step.name, step.policy, shares.pop()))
        except Exception as error:
            kind = getattr(error, "error_class", None)
            if not isinstance(error, DriverError):
                log.exception("a split made no sense", campaign=request.campaign, step=request.step)
            self._post(
                ev.SplitFailed(
                    step_id=step_id,
                    error_class=kind if isinstance(kind, ErrorClass) else ErrorClass.PERMANENT,
                    message=words(str(error) or type(error).__name__),
                )
            )
            return
        current = self._view.steps.get(step_id)
        if current is not None and current.policy is not step.policy:
            # A new version of the file came meanwhile: what was split is not what is wanted.
            self._tasks.pop(step_id, None)
            self.note(current)
            return
        for start in range(0, max(len(groups), 1), CHUNK):
            chunk = tuple(groups[start : start + CHUNK])
            self._post(
                ev.StepSplit(step_id=step_id, groups=chunk, last=start + CHUNK >= len(groups))
            )
        # Each of these events changes the step; until the last is decided it is being split.
        del groups, chunk
        await self._decided()

    def _new_group(
        self, campaign: str, step: str, policy: StepPolicy, share: DataShare
    ) -> ev.NewGroup:
        kept: dict[str, Any] = {
            name: value
            for name, value in (
                ("name", share.name),
                ("where", share.where),
                ("region", share.region),
                ("size", share.size),
                ("data", dict(share.data)),
            )
            if value
        }
        jobs = self._plugins.plan_group(GroupReview(campaign, step, policy, share))
        if jobs is not None:
            kept["jobs"] = [asdict(job) for job in jobs]
        region = None if share.region is None else words(share.region)
        return ev.NewGroup(share.name, json.dumps(kept), region, jobs)
