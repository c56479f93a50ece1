"""Lanes: one for each driver at each facility, with its queue, its slots and its breaker.

Everything here is derived from the view and rebuilt at start; nothing of it is stored.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from cmd_daemon.engine.breaker import Breaker
from cmd_daemon.engine.queues import Queues, TooBig
from cmd_daemon.engine.tracing import Tracing
from cmd_daemon.hooks.ports import Driver, FacilityInfo, Queue
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
    `flying`, of which some are `submitting`, some `running`, and the rest uncertain. Ready jobs are in
    `queue`, or by memory class in `queues`. `fixed`: the limit is its own, not the facility's slots."""

    facility: str
    name: str
    driver: Driver
    limit: int
    queue: deque[int] = field(default_factory=deque)
    queues: dict[str, deque[int]] = field(default_factory=dict)
    flying: set[int] = field(default_factory=set)
    submitting: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)
    breaker: Breaker = field(default_factory=Breaker)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    started: bool = False
    fixed: bool = False
    turn: int = 0
    tracing: Tracing | None = None

    @property
    def ready(self) -> int:
        """Jobs that wait for a slot."""
        return len(self.queue) + sum(map(len, self.queues.values()))


class Lanes:
    """All lanes, and the rule by which READY jobs get a slot: first come, first served, but a group
    that has begun goes before one that has not. Memory classes take turns; a full one holds up
    nobody in the others. `drained` facilities begin no groups, `closed` ones take nothing at all."""

    def __init__(self, view: View, infos: Mapping[str, FacilityInfo] | None = None) -> None:
        self._view = view
        self.lanes: dict[tuple[str, str], Lane] = {}
        self.drained: set[str] = set()
        self.closed: set[str] = set()
        self.queues = Queues(view, {} if infos is None else infos)
        self._queued: dict[int, Lane] = {}
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
            self.queues.enter(job)
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
            if self.queues.leave(job):
                self._touch_all(job.facility)
        if (
            job.state is JobState.READY
            and job.due_at is None
            and self._queued.get(job.id) is not lane
        ):
            self._queued[job.id] = lane
            line = self._line_of(lane, job)
            if job.position or job.attempt:
                line.appendleft(job.id)
            else:
                line.append(job.id)
            self._dirty.add(lane)

    def _line_of(self, lane: Lane, job: Job) -> deque[int]:
        """Where a job waits. One that fits nowhere waits with those without a class: its turn comes,
        and then it is told."""
        if not self.queues.at(lane.facility):
            return lane.queue
        try:
            queue = self.queues.of(job)
        except TooBig:
            queue = ""
        return lane.queues.setdefault(queue, deque()) if queue else lane.queue

    def resume(self, campaign_id: int) -> None:
        """A campaign may submit again."""
        for ident in self._parked.pop(campaign_id, ()):
            self._queued.pop(ident, None)
            job = self._view.jobs.get(ident)
            if job is not None:
                self.note(job)

    def forget(self, campaign_id: int) -> None:
        """The campaign is archived: none of its jobs waits any more."""
        for ident in self._parked.pop(campaign_id, ()):
            self._queued.pop(ident, None)

    def drain(self, facility: str, drained: bool) -> None:
        """A facility begins no groups, or (`drained` False) begins some again."""
        if drained:
            self.drained.add(facility)
        else:
            self.drained.discard(facility)
            self._touch_all(facility)

    def close(self, facility: str, closed: bool) -> None:
        """Nothing is submitted at a facility, or (`closed` False) is again."""
        if closed:
            self.closed.add(facility)
        else:
            self.closed.discard(facility)
            self._touch_all(facility)

    def configure(self, facility: str) -> None:
        """The facility's limits or memory classes have changed."""
        self.queues.configure(facility)
        for lane in self.lanes.values():
            if lane.facility == facility:
                for gone in lane.queues.keys() - self.queues.at(facility).keys():
                    # Each is put into its new line when its turn comes.
                    lane.queue.extend(lane.queues.pop(gone))
        self._touch_all(facility)

    def queues_of(self, facility: str) -> tuple[Queue, ...]:
        """A facility's memory classes, smallest first, with the jobs that run and wait in each."""
        lanes = [lane for lane in self.lanes.values() if lane.facility == facility]
        return tuple(
            replace(
                queue,
                running=self.queues.taken(facility, queue.name),
                queued=sum(len(lane.queues.get(queue.name, ())) for lane in lanes),
            )
            for queue in self.queues.at(facility).values()
        )

    def full_queue(self, job: Job) -> str:
        """The full memory class that a job waits for, in words; "" if it waits for none."""
        try:
            name = self.queues.of(job)
        except TooBig:
            return ""
        if self.queues.free(job.facility, name):
            return ""
        slots = self.queues.at(job.facility)[name].slots
        taken = self.queues.taken(job.facility, name)
        return f"waits for a slot in queue {name} of {job.facility}: {taken} of {slots} are taken"

    def _touch_all(self, facility: str) -> None:
        for lane in self.lanes.values():
            if lane.facility == facility:
                self._dirty.add(lane)

    def touch(self, lane: Lane) -> None:
        """Look at a lane's queue again (its breaker may have closed)."""
        self._dirty.add(lane)

    def admissions(self, now: int) -> Iterator[ev.JobAdmitted | ev.JobTooBig]:
        """Admissions for all free slots, and jobs no slot will ever do for. Each must be decided and
        noted before the next is asked for."""
        while self._dirty:
            lane = self._dirty.pop()
            yield from self._admissions(lane, now)

    def _admissions(self, lane: Lane, now: int) -> Iterator[ev.JobAdmitted | ev.JobTooBig]:
        waiting: list[tuple[deque[int], int]] = []
        try:
            yield from self._admitted(lane, now, waiting)
        finally:
            # Also when whoever asked stops half way.
            for line, ident in waiting:
                line.append(ident)

    def _admitted(
        self, lane: Lane, now: int, waiting: list[tuple[deque[int], int]]
    ) -> Iterator[ev.JobAdmitted | ev.JobTooBig]:
        while (
            lane.started
            and len(lane.flying) < lane.limit
            and len(lane.submitting) < SUBMITTING
            and lane.facility not in self.closed
            and (line := self._next(lane)) is not None
        ):
            state = lane.breaker.state(now)
            # Uncertain jobs wait for persons: they are no try.
            if state == "open" or (state == "half-open" and lane.submitting):
                break
            ident = line.popleft()
            if self._queued.get(ident) is not lane:
                continue  # it waits in another lane by now
            job = self._view.jobs.get(ident)
            group = self._view.groups.get(job.group_id) if job is not None else None
            if (
                job is None
                or group is None
                or job.state is not JobState.READY
                or self.of(job) is not lane
            ):
                del self._queued[ident]
            elif self._view.campaigns[job.campaign_id].desired is not Desired.RUN:
                self._parked.setdefault(job.campaign_id, []).append(ident)
            elif lane.facility in self.drained and group.state is GroupState.PLACED:
                waiting.append((line, ident))
            elif (problem := self._too_big(job)) is not None:
                del self._queued[ident]
                yield ev.JobTooBig(job_id=ident, attempt=job.attempt, message=problem)
            elif (other := self._line_of(lane, job)) is not line:
                # What it asks for has changed while it waited: a new version of the file.
                other.append(ident)
            else:
                del self._queued[ident]
                yield ev.JobAdmitted(job_id=ident, attempt=job.attempt)

    def _next(self, lane: Lane) -> deque[int] | None:
        """The next line with a job and a free slot; None if there is none. O(memory classes)."""
        if not lane.queues:
            return lane.queue or None
        lines = [("", lane.queue), *lane.queues.items()]
        for step in range(len(lines)):
            name, line = lines[(lane.turn + step) % len(lines)]
            if line and self.queues.free(lane.facility, name):
                lane.turn = (lane.turn + step + 1) % len(lines)
                return line
        return None

    def _too_big(self, job: Job) -> str | None:
        """Why no slot will ever do for a job; None if one will."""
        try:
            self.queues.of(job)
        except TooBig as problem:
            return str(problem)
        return None
