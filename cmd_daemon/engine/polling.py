"""Observation: one question a lane for all its running attempts, paced, or sooner when woken."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cmd_daemon.engine.answers import (
    Nonsense,
    checked_outcome,
    checked_progress,
    key_of,
    listed,
    words,
)
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.guarding import CallFailed, guarded
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.engine.orders import memory_of
from cmd_daemon.hooks.ports import JobRef, Observation, Phase
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.outcome import ErrorClass, Outcome
from cmd_daemon.kernel.states import JobState
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

SELDOM_S = 60.0
"""Seconds between two questions to a driver that does not say how often it may be asked."""

SET_SIZE = 2000
"""Attempts in one question at most."""

BREATH_S = 0.01
"""Seconds between two questions at least, so that answers come in sets."""


class Polling:
    """Asks lanes about their running attempts and posts what has changed."""

    def __init__(
        self,
        view: View,
        clock: Clock,
        post: Callable[[ev.Event], None],
        decided: Callable[[], Awaitable[None]],
    ) -> None:
        self._view = view
        self._clock = clock
        self._post = post
        self._decided = decided

    async def run(self, lane: Lane) -> None:
        """Observe one lane, for ever."""
        while True:
            if not lane.running:
                await lane.wake.wait()
            lane.wake.clear()
            if lane.started:
                await self.look(lane)
            await self._clock.wait(BREATH_S)
            waiting = asyncio.ensure_future(self._clock.wait(_pause(lane)))
            woken = asyncio.ensure_future(lane.wake.wait())
            try:
                await asyncio.wait({waiting, woken}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                woken.cancel()

    async def look(self, lane: Lane) -> None:
        """Ask once about everything that runs in the lane: one question, or several if it is a lot."""
        running = list(lane.running)
        for start in range(0, len(running), SET_SIZE):
            await self._ask(lane, running[start : start + SET_SIZE])
            # What was told is decided before the next question: nothing is told twice.
            await self._decided()

    async def _ask(self, lane: Lane, idents: list[int]) -> None:
        asked: dict[str, Job] = {}
        for ident in idents:
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
                lane,
                self._clock,
                "observe",
                lane.driver.observe(refs),
                ErrorClass.TRANSIENT,
                asked.values(),
            )
        except CallFailed:
            return  # the breaker knows; asked again next time
        except Exception:
            log.exception("a driver raised", facility=lane.facility, driver=lane.name)
            return
        for each in listed(seen, len(refs)):
            job_asked = asked.get(key_of(each))
            if job_asked is None:
                continue
            try:
                self._tell(job_asked, each)
            except Exception:
                log.exception(
                    "an observation made no sense",
                    facility=lane.facility,
                    driver=lane.name,
                    attempt=key_of(each),
                )

    def _tell(self, job: Job, seen: Observation) -> None:
        match seen.phase:
            case Phase.DONE:
                try:
                    outcome = checked_outcome(seen.outcome)
                except Nonsense as error:
                    problem = words(f"driver {job.driver} called it done, but {error}")
                    outcome = Outcome(False, problem, error_class=ErrorClass.TRANSIENT)
                self._post(
                    ev.JobEnded(
                        job_id=job.id,
                        attempt=job.attempt,
                        outcome=outcome,
                        memory=memory_of(self._view, job) if job.id in self._view.jobs else 0,
                    )
                )
            case Phase.GONE:
                told = words(seen.message)
                self._post(ev.JobGone(job_id=job.id, attempt=job.attempt, message=told))
            case Phase.QUEUED | Phase.RUNNING:
                progress = checked_progress(seen.progress) if seen.progress else job.progress
                running = seen.phase is Phase.RUNNING
                if progress != job.progress or (running and job.started_at is None):
                    self._post(
                        ev.JobSeen(
                            job_id=job.id, attempt=job.attempt, running=running, progress=progress
                        )
                    )


def _pause(lane: Lane) -> float:
    """Seconds until the next question; a driver that names nonsense is asked once a minute."""
    try:
        asked = float(lane.driver.poll_s)
    except Exception:
        log.exception("a driver has no poll_s", facility=lane.facility, driver=lane.name)
        return SELDOM_S
    return max(min(asked, 3600.0), BREATH_S) if asked == asked else SELDOM_S
