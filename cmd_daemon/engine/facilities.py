"""Facilities as they are just now: what persons decided, what looks found, and what follows.

Everything here is derived from the configuration, the committed decisions in the view, and the last
looks; nothing of it is stored.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import structlog

from cmd_daemon.engine import limits
from cmd_daemon.engine.answers import MOST, Nonsense, words
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.lanes import Lanes
from cmd_daemon.hooks.facilities import (
    Check,
    FacilityProbe,
    FacilityReport,
    QueueState,
    Storage,
)
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import FacilityInfo, Host, Queue
from cmd_daemon.kernel.records import FacilityState
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.kernel.view import View
from cmd_daemon.observe import metrics

log = structlog.get_logger()

LOOK_S = 20.0
"""Seconds a probe may take for one look."""

IN_A_ROW = 2
"""Looks in which a vital check must fail before the facility is down: one hiccup does nothing."""

ITEMS = 100
"""Checks, storage elements, queues, and ways with a backlog, that are kept of one look of one probe."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one probe found at its last look, and when (microseconds UTC)."""

    report: FacilityReport
    at: int


class LiveFacilities:
    """The one place that knows whether a facility takes new work, and why not."""

    def __init__(
        self,
        view: View,
        infos: dict[str, FacilityInfo],
        lanes: Lanes,
        plugins: Plugins,
        host: Host,
        clock: Clock,
        probe_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._view = view
        self._infos = infos
        self._lanes = lanes
        self._plugins = plugins
        self._host = host
        self._clock = clock
        self._probe_s = probe_s
        self._wake = wake
        self._configured = dict(infos)
        self._limits = {key: lane.limit for key, lane in lanes.lanes.items()}
        self._seen: dict[str, dict[str, Seen]] = {name: {} for name in infos}
        self._tasks: asyncio.TaskGroup | None = None
        self._failing: dict[str, dict[tuple[str, str], tuple[int, str]]] = {n: {} for n in infos}

    # --- what others ask ---------------------------------------------------------------------

    def up(self, name: str) -> tuple[bool, str]:
        """Whether a facility takes new work now; if not, why, in words."""
        state = self._view.facilities.get(name)
        if state is not None and state.killed:
            return False, f"stopped by the kill switch by {state.actor}: {state.reason}"
        if state is not None and state.drained:
            return False, f"drained by {state.actor}{f': {state.reason}' if state.reason else ''}"
        if problem := self.failing(name):
            return False, problem
        info = self._infos[name]
        lane = self._lanes.lanes.get((name, info.drivers.get(JobKind.PROCESS, "")))
        if lane is not None and lane.breaker.state(self._clock.now()) == "open":
            return False, f"driver {lane.name} fails: {lane.breaker.message}"
        return True, ""

    def standing(self) -> dict[str, tuple[bool | None, str, bool]]:
        """Of each facility: whether it takes new work (None: not looked at often enough to tell), if
        not why, and whether a person decided so."""
        found: dict[str, tuple[bool | None, str, bool]] = {}
        for name in self._infos:
            state = self._view.facilities.get(name)
            decided = state is not None and (state.killed or state.drained)
            up, why = self.up(name)
            open_question = bool(self._failing[name]) or bool(
                self._plugins.probes and not self._seen[name]
            )
            found[name] = (None if up and open_question else up, why, decided)
        return found

    def failing(self, name: str) -> str:
        """The vital checks that keep a facility down, in words; "" if there are none."""
        failed = self._failing[name]
        return "; ".join(
            f"check {check} fails{f': {message}' if message else ''}"
            for (_, check), (times, message) in failed.items()
            if times >= IN_A_ROW
        )

    def storage(self, name: str) -> tuple[Storage, ...]:
        """A facility's storage elements as the last looks found them; none before the first look."""
        return tuple(each for each, _ in self.storage_seen(name))

    def storage_seen(self, name: str) -> list[tuple[Storage, int]]:
        """Storage elements with the time of the look (microseconds UTC)."""
        return [
            (each, seen.at) for seen in self._seen[name].values() for each in seen.report.storage
        ]

    def checks_seen(self, name: str) -> list[tuple[Check, int]]:
        """The last answers of all checks with the time of the look (microseconds UTC)."""
        return [
            (each, seen.at) for seen in self._seen[name].values() for each in seen.report.checks
        ]

    def backlog(self, name: str) -> dict[str, int]:
        """Bytes that wait to be sent to a facility, by the facility they come from, as the last looks
        found them."""
        waiting: Counter[str] = Counter()
        for seen in self._seen[name].values():
            waiting.update(seen.report.backlog)
        return waiting

    def queues(self, name: str) -> tuple[Queue, ...]:
        """A facility's memory classes, smallest first, with the jobs that run and wait in each."""
        return self._lanes.queues_of(name)

    def classes(self, name: str) -> tuple[Queue, ...]:
        """The same for placement, with what the outside system tells of its queues: those that take no
        jobs are left out, unless none does."""
        told = {
            each.queue: each for seen in self._seen[name].values() for each in seen.report.queues
        }
        classes = self.queues(name)
        if not classes and "" in told:
            info, (running, queued) = self._infos[name], self.load(name)
            whole = Queue("", info.slots, info.memory, running, queued, info.cores, info.walltime_s)
            classes = (whole,)
        seen = [(narrowed(queue, told.get(queue.name)), told.get(queue.name)) for queue in classes]
        online = tuple(queue for queue, state in seen if state is None or state.online)
        return online or tuple(queue for queue, _ in seen)

    def load(self, name: str) -> tuple[int, int]:
        """Jobs of a facility that may be outside, and jobs that wait for a slot there."""
        lanes = [lane for lane in self._lanes.lanes.values() if lane.facility == name]
        return sum(len(lane.flying) for lane in lanes), sum(lane.ready for lane in lanes)

    def ending(self, name: str) -> int:
        """Jobs of a facility that were asked to end and have not ended yet. O(its jobs outside)."""
        jobs = self._view.jobs
        return sum(
            jobs[ident].cancelling
            for lane in self._lanes.lanes.values()
            if lane.facility == name
            for ident in lane.flying
            if ident in jobs
        )

    def limits_edited(self, name: str) -> limits.Limits:
        """What a person has changed of a facility's limits."""
        state = self._view.facilities.get(name)
        return limits.read(state.limits if state is not None else None)

    # --- what the engine tells ---------------------------------------------------------------

    def note(self, state: FacilityState) -> None:
        """Take in what persons decided about a facility: limits hold at once, lanes open or close."""
        name = state.name
        if name not in self._infos:
            return  # taken out of the configuration; what was decided waits for its return
        edited = limits.read(state.limits)
        self._infos[name] = limits.applied(self._configured[name], edited)
        for key, lane in self._lanes.lanes.items():
            if lane.facility == name:
                lane.limit = limits.lane_limit(edited, lane.name, self._limits[key], lane.fixed)
        self._lanes.configure(name)
        self._lanes.drain(name, state.drained)
        self._settle(name)

    def configure(self, info: FacilityInfo) -> None:
        """Take in another configuration of a facility, or a new one; what persons edited holds over it."""
        name = info.name
        self._configured[name] = self._infos[name] = info
        self._limits |= {
            key: lane.limit for key, lane in self._lanes.lanes.items() if lane.facility == name
        }
        if name not in self._seen:
            self._seen[name], self._failing[name] = {}, {}
            if self._tasks is not None:
                self._tasks.create_task(self._watch(name))
        state = self._view.facilities.get(name)
        self.note(state or FacilityState(name, False, "", "", 0))

    def _settle(self, name: str) -> None:
        """Open or close the facility's lanes."""
        state = self._view.facilities.get(name)
        killed = state is not None and state.killed
        self._lanes.close(name, killed or bool(self.failing(name)))
        self._wake()

    # --- looks ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at all facilities, for ever. One task each: a slow one holds up nobody else."""
        if self._plugins.probes:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for name in self._infos:
                    tasks.create_task(self._watch(name))

    async def _watch(self, name: str) -> None:
        while True:
            await self.look(name)
            await self._clock.wait(self._probe_s)

    async def look(self, name: str) -> None:
        """Ask every probe about a facility, all at a time, and take in what they found."""
        probes = dict(self._plugins.probes)
        was_up = not self.failing(name)
        reports = await asyncio.gather(*(self._ask(each, name) for each in probes.values()))
        failing: dict[tuple[str, str], tuple[int, str]] = {}
        for probe, report in zip(probes, reports, strict=True):
            self._seen[name][probe] = Seen(report, self._clock.now())
            for check in report.checks:
                if check.vital and not check.ok:
                    times, _ = self._failing[name].get((probe, check.name), (0, ""))
                    failing[probe, check.name] = (times + 1, check.message)
        self._failing[name] = failing
        problem = self.failing(name)
        metrics.facility_up.labels(name).set(not problem)
        if was_up and problem:
            log.error("a facility is down", facility=name, problem=problem)
        elif not was_up and not problem:
            log.info("the facility is up again", facility=name)
        if was_up == bool(problem):
            self._settle(name)

    async def _ask(self, probe: FacilityProbe, name: str) -> FacilityReport:
        try:
            report = await contained(probe.look(self._infos[name], self._host), LOOK_S)
            return _usable(report)
        except TimeoutError:
            problem = f"no answer in {LOOK_S:.0f} s"
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            problem = words(str(error) or type(error).__name__)
        return FacilityReport(checks=(Check(probe.name, False, problem),))


def narrowed(queue: Queue, state: QueueState | None) -> Queue:
    """A memory class with what the outside system says about it: the smaller limits hold, and the
    larger load, for ours is part of everybody's."""
    if state is None:
        return queue
    return replace(
        queue,
        running=max(queue.running, state.running),
        queued=max(queue.queued, state.queued),
        memory=min(queue.memory, state.memory or queue.memory),
        cores=min(queue.cores, state.cores or queue.cores),
        walltime_s=min(queue.walltime_s, state.walltime_s or queue.walltime_s),
    )


def _usable(report: object) -> FacilityReport:
    """A report fit to be shown and decided on. Raises Nonsense, or whatever nonsense leads to."""
    if not isinstance(report, FacilityReport):
        raise Nonsense(f"the probe answered {report!r:.200}")
    return FacilityReport(
        storage=tuple(
            Storage(
                words(each.name),
                words(each.path),
                _bytes(each.free_bytes),
                _bytes(each.total_bytes),
                words(each.message),
            )
            for each in tuple(report.storage)[:ITEMS]
        ),
        checks=tuple(
            Check(words(each.name), bool(each.ok), words(each.message), bool(each.vital))
            for each in tuple(report.checks)[:ITEMS]
        ),
        backlog={
            words(source): _bytes(size) or 0
            for source, size in islice(report.backlog.items(), ITEMS)
        },
        queues=tuple(_queue(each) for each in tuple(report.queues)[:ITEMS]),
    )


def _queue(told: QueueState) -> QueueState:
    walltime = told.walltime_s
    if walltime is not None and not walltime >= 0:
        raise Nonsense(f"a wall time is {walltime!r:.200}")
    return QueueState(
        words(told.queue),
        bool(told.online),
        _bytes(told.running) or 0,
        _bytes(told.queued) or 0,
        _bytes(told.memory),
        _bytes(told.cores),
        walltime,
    )


def _bytes(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or value < 0:
        raise Nonsense(f"a size or count is {value!r:.200}")
    return min(value, MOST)
