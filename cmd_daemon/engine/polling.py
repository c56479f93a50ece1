"""Observation: one question a lane for all its running attempts, paced, or sooner when woken."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import structlog

from cmd_daemon.engine.calls import CallFailed, guarded
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.engine.orders import memory_of
from cmd_daemon.hooks.ports import JobRef, Observation, Phase
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.states import JobState
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

EAGER_S = 2.0
"""A driver that may be asked this often is asked at once about an attempt that has just begun."""

BREATH_S = 0.01
"""Seconds between two questions at least, so that answers come in sets."""


class Polling:
    """Asks lanes about their running attempts and posts what has changed."""

    def __init__(self, view: View, clock: Clock, post: Callable[[ev.Event], None]) -> None:
        self._view = view
        self._clock = clock
        self._post = post

    async def run(self, lane: Lane) -> None:
        """Observe one lane, for ever."""
        while True:
            if not lane.running:
                await lane.wake.wait()
            lane.wake.clear()
            await self.look(lane)
            await self._clock.wait(BREATH_S)
            pause = max(min(lane.driver.poll_s, 3600.0), BREATH_S)
            waiting = asyncio.ensure_future(self._clock.wait(pause))
            woken = asyncio.ensure_future(lane.wake.wait())
            try:
                await asyncio.wait({waiting, woken}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                woken.cancel()

    async def look(self, lane: Lane) -> None:
        """Ask once about everything that runs in the lane."""
        asked: dict[str, Job] = {}
        for ident in list(lane.running):
            job = self._view.jobs.get(ident)
            if job is None or job.state is not JobState.RUNNING:
                lane.running.discard(ident)
            else:
                asked[self._view.key(job)] = job
        if not asked:
            return
        refs = [JobRef(key, job.ref or "") for key, job in asked.items()]
        try:
            seen = await guarded(
                lane, self._clock, "observe", lane.driver.observe(refs), ErrorClass.TRANSIENT
            )
            for each in seen:
                job_asked = asked.get(each.key)
                if job_asked is not None:
                    self._tell(job_asked, each)
        except CallFailed:
            return  # the breaker knows; asked again next time
        except Exception:
            log.exception("an observation made no sense", facility=lane.facility, driver=lane.name)

    def _tell(self, job: Job, seen: Observation) -> None:
        match seen.phase:
            case Phase.DONE:
                outcome = seen.outcome
                if not isinstance(outcome, Outcome):
                    outcome = Outcome(
                        False,
                        f"the driver called it done without an outcome: {seen.message}",
                        error_class=ErrorClass.TRANSIENT,
                    )
                self._post(
                    ev.JobEnded(
                        job_id=job.id,
                        attempt=job.attempt,
                        outcome=outcome,
                        memory=memory_of(self._view, job) if job.id in self._view.jobs else 0,
                    )
                )
            case Phase.GONE:
                self._post(ev.JobGone(job_id=job.id, attempt=job.attempt, message=seen.message))
            case Phase.QUEUED | Phase.RUNNING:
                progress = json.dumps(_plain(seen.progress)) if seen.progress else job.progress
                running = seen.phase is Phase.RUNNING
                if progress != job.progress or (running and job.started_at is None):
                    self._post(
                        ev.JobSeen(
                            job_id=job.id, attempt=job.attempt, running=running, progress=progress
                        )
                    )


def _plain(progress: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(progress).items() if value}
