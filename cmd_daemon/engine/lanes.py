"""Lanes: one for each driver at each facility, with its queue, its slots and its breaker.

Everything here is derived from the view and rebuilt at start; nothing of it is stored.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from cmd_daemon.engine.breaker import Breaker
from cmd_daemon.hooks.ports import Driver
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.states import IN_FLIGHT_JOB, Desired, GroupState, JobState
from cmd_daemon.kernel.view import View

SUBMITTING = 2000
"""Jobs of a lane at most whose submission is intended and not answered yet: more would only wait
for the calls before them, and hold their groups in memory meanwhile."""


@dataclass(slots=True, eq=False)
class Lane:
    """One driver at one facility. `limit` is the number of its jobs that may be outside at a time:
    `flying`, of which some are `submitting`, some `running`, and the rest uncertain."""

    facility: str
    name: str
    driver: Driver
    limit: int
    queue: deque[int] = field(default_factory=deque)
    flying: set[int] = field(default_factory=set)
    submitting: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)
    breaker: Breaker = field(default_factory=Breaker)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    started: bool = False


class Lanes:
    """All lanes, and the rule by which READY jobs get a slot: first come, first served, but a group
    that has begun goes before one that has not."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.lanes: dict[tuple[str, str], Lane] = {}
        self.drained: set[str] = set()
        self._queued: set[int] = set()
        self._parked: dict[int, list[int]] = {}
        self._dirty: set[Lane] = set()

    def add(self, lane: Lane) -> None:
        """A lane made from the configuration."""
        self.lanes[lane.facility, lane.name] = lane

    def of(self, job: Job) -> Lane | None:
        """The job's lane; None if its driver is not configured (any more)."""
        return self.lanes.get((job.facility, job.driver))

    def note(self, job: Job) -> None:
        """Take in a job that has changed."""
        lane = self.lanes.get((job.facility, job.driver))
        if lane is None:
            return
        if job.state is JobState.SUBMITTING:
            lane.submitting.add(job.id)
        elif job.id in lane.submitting:
            lane.submitting.discard(job.id)
            self._dirty.add(lane)
        if job.state in IN_FLIGHT_JOB:
            lane.flying.add(job.id)
            if job.state is JobState.RUNNING:
                if job.id not in lane.running:
                    lane.running.add(job.id)
                    lane.wake.set()
            else:
                lane.running.discard(job.id)
            return
        if job.id in lane.flying:
            lane.flying.discard(job.id)
            lane.running.discard(job.id)
            self._dirty.add(lane)
        if job.state is JobState.READY and job.due_at is None and job.id not in self._queued:
            self._queued.add(job.id)
            if job.position or job.attempt:
                lane.queue.appendleft(job.id)
            else:
                lane.queue.append(job.id)
            self._dirty.add(lane)

    def resume(self, campaign_id: int) -> None:
        """A campaign may submit again."""
        for ident in self._parked.pop(campaign_id, ()):
            self._queued.discard(ident)
            job = self._view.jobs.get(ident)
            if job is not None:
                self.note(job)

    def undrain(self, facility: str) -> None:
        """A facility takes new groups again."""
        self.drained.discard(facility)
        for lane in self.lanes.values():
            if lane.facility == facility:
                self._dirty.add(lane)

    def touch(self, lane: Lane) -> None:
        """Look at a lane's queue again (its breaker may have closed)."""
        self._dirty.add(lane)

    def admissions(self, now: int) -> Iterator[ev.JobAdmitted]:
        """Admissions for all free slots. Each must be decided and noted before the next is asked for."""
        while self._dirty:
            lane = self._dirty.pop()
            yield from self._admissions(lane, now)

    def _admissions(self, lane: Lane, now: int) -> Iterator[ev.JobAdmitted]:
        waiting: list[int] = []
        try:
            yield from self._admitted(lane, now, waiting)
        finally:
            # Also when whoever asked stops half way.
            lane.queue.extend(waiting)

    def _admitted(self, lane: Lane, now: int, waiting: list[int]) -> Iterator[ev.JobAdmitted]:
        while (
            lane.queue
            and lane.started
            and len(lane.flying) < lane.limit
            and len(lane.submitting) < SUBMITTING
        ):
            state = lane.breaker.state(now)
            # Uncertain jobs wait for persons: they are no try.
            if state == "open" or (state == "half-open" and lane.submitting):
                break
            ident = lane.queue.popleft()
            job = self._view.jobs.get(ident)
            group = self._view.groups.get(job.group_id) if job is not None else None
            if job is None or group is None or job.state is not JobState.READY:
                self._queued.discard(ident)
            elif self._view.campaigns[job.campaign_id].desired is not Desired.RUN:
                self._parked.setdefault(job.campaign_id, []).append(ident)
            elif lane.facility in self.drained and group.state is GroupState.PLACED:
                waiting.append(ident)
            else:
                self._queued.discard(ident)
                yield ev.JobAdmitted(job_id=ident, attempt=job.attempt)
