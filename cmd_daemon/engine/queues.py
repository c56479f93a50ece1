"""Memory classes: to which queue of its facility a process job belongs, and how full each is."""

from collections.abc import Mapping

from cmd_daemon.hooks.ports import FacilityInfo, Queue
from cmd_daemon.kernel import retry
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.states import IN_FLIGHT_JOB, JobKind
from cmd_daemon.kernel.view import View


class TooBig(Exception):
    """A job asks for more than its facility has for one job; the message says what and where."""


class Queues:
    """Which jobs are in which queue. Jobs of other kinds than `process` belong to none, and so do all
    jobs of a facility without queues: the name of no queue is ""."""

    def __init__(self, view: View, infos: Mapping[str, FacilityInfo]) -> None:
        self._view = view
        self._infos = infos
        self._queues: dict[str, dict[str, Queue]] = {}
        self._taken: dict[tuple[str, str], int] = {}
        self._at: dict[int, tuple[str, str]] = {}
        for name in infos:
            self.configure(name)

    def configure(self, facility: str) -> None:
        """The facility's limits have changed."""
        queues = sorted(
            self._infos[facility].queues, key=lambda q: (q.memory, q.cores, q.walltime_s)
        )
        if queues:
            self._queues[facility] = {queue.name: queue for queue in queues}
        else:
            self._queues.pop(facility, None)

    def at(self, facility: str) -> Mapping[str, Queue]:
        """The queues of a facility by name, smallest first."""
        return self._queues.get(facility, {})

    def taken(self, facility: str, queue: str) -> int:
        """Jobs of a queue that may be outside."""
        return self._taken.get((facility, queue), 0)

    def free(self, facility: str, queue: str) -> bool:
        """Whether one more job may go to a queue; "" is never full."""
        return not queue or self.taken(facility, queue) < self._queues[facility][queue].slots

    def of(self, job: Job) -> str:
        """The smallest queue a job fits into: by what its current attempt asks for, its next one if it
        has none outside. Raises TooBig."""
        if job.kind is not JobKind.PROCESS:
            return ""
        info = self._infos.get(job.facility)
        if info is None:
            return ""
        policy = self._view.steps[job.step_id].policy
        asked = policy.resources
        number = job.attempt + (job.state not in IN_FLIGHT_JOB)
        memory = retry.memory(asked, policy.retry, max(number - job.budget_from, 1))
        wants = f"asks for {_size(memory)}, {asked.cores} cores and {asked.walltime_s:.0f} s"
        if memory > info.memory or asked.cores > info.cores or asked.walltime_s > info.walltime_s:
            raise TooBig(
                f"it {wants}; a job at {info.name} may have {_size(info.memory)}, {info.cores} cores "
                f"and {info.walltime_s:.0f} s: ask for less, or raise the facility's limits, then retry"
            )
        queues = self.at(job.facility)
        for queue in queues.values():
            if (
                memory <= queue.memory
                and asked.cores <= queue.cores
                and asked.walltime_s <= queue.walltime_s
            ):
                return queue.name
        if queues:
            raise TooBig(
                f"it {wants}, which fits into no queue of {info.name} ({', '.join(queues)}): ask for "
                "less and retry, or move the group"
            )
        return ""

    def enter(self, job: Job) -> None:
        """A job may be outside from now on."""
        if job.id in self._at or job.facility not in self._queues:
            return
        try:
            queue = self.of(job)
        except TooBig:
            return  # it was let in under other limits, and counts in no queue any more
        if queue:
            place = job.facility, queue
            self._at[job.id] = place
            self._taken[place] = self._taken.get(place, 0) + 1

    def leave(self, job: Job) -> bool:
        """A job is not outside any more. True if a queue's slot became free by it."""
        place = self._at.pop(job.id, None)
        if place is not None:
            self._taken[place] -= 1
        return place is not None

    def name_of(self, job: Job) -> str:
        """The queue that a job outside was admitted to."""
        return self._at.get(job.id, ("", ""))[1]


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
