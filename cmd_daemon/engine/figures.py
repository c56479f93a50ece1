"""Figures for Prometheus that are read off the state: set every few seconds, from roll-ups alone.

Set in the loop's thread: the thread that answers Prometheus never touches the view. One round costs
O(steps + lanes), whatever the number of groups and jobs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Gauge

from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.lanes import Lanes
from cmd_daemon.engine.notices import Notices
from cmd_daemon.engine.outbox import Outbox
from cmd_daemon.engine.placing import Placing
from cmd_daemon.hooks.ports import NexusEntry
from cmd_daemon.kernel.decision import Batch
from cmd_daemon.kernel.entities import Step
from cmd_daemon.kernel.states import CampaignState, Desired, JobKind
from cmd_daemon.kernel.view import View
from cmd_daemon.observe import metrics

EVERY_S = 15.0
"""Seconds between two rounds: Prometheus rarely asks more often."""


class Series:
    """The series of one gauge: those that a round does not set go away."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._told: set[tuple[str, ...]] = set()

    def set(self, values: Mapping[tuple[str, ...], float]) -> None:
        """All series there are now, by their labels."""
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for gone in self._told - values.keys():
            self._gauge.remove(*gone)
        self._told = set(values)


class Figures:
    """Sets the gauges of campaigns, lanes, the outbox and notices."""

    def __init__(
        self,
        view: View,
        lanes: Lanes,
        placing: Placing,
        notices: Notices,
        clock: Clock,
    ) -> None:
        self._view = view
        self._lanes = lanes
        self.outbox = Outbox()
        self._placing = placing
        self._notices = notices
        self._clock = clock
        self._running = Series(metrics.campaign_running)
        self._groups = Series(metrics.groups)
        self._jobs = Series(metrics.jobs)
        self._share = Series(metrics.share)
        self._target = Series(metrics.share_target)
        self._lane_jobs = Series(metrics.lane_jobs)
        self._calls = Series(metrics.calls_waiting)
        self._oldest = Series(metrics.oldest_call)
        self._notes = Series(metrics.notices_waiting)

    def committed(self, batch: Batch, entries: Sequence[NexusEntry], seconds: float) -> None:
        """Count a commit: its events, its intents, and what transfers have brought."""
        self.outbox.note(batch)
        metrics.commit_seconds.observe(seconds)
        metrics.commit_events.observe(len(batch.records))
        counts = Counter((record.kind, record.to_state) for record in batch.records)
        for (kind, state), count in counts.items():
            metrics.events_total.labels(kind, state).inc(count)
        for entry in entries:
            # The books of a transfer that succeeded tell each byte once; other movements tell it again.
            size = entry.counts.get("bytes", 0)
            if entry.kind == JobKind.TRANSFER and entry.succeeded and size:
                metrics.bytes_moved.labels(entry.source, entry.destination).inc(size)

    async def run(self) -> None:
        """Set them, for ever."""
        while True:
            self.set()
            await self._clock.wait(EVERY_S)

    def set(self) -> None:
        """One round."""
        self._of_campaigns()
        self._of_lanes()
        waiting = self._notices.waiting()
        self._notes.set({(name,): float(count) for name, count in waiting.items()})

    def _of_campaigns(self) -> None:
        running: dict[tuple[str, ...], float] = {}
        groups: Counter[tuple[str, ...]] = Counter()
        jobs: Counter[tuple[str, ...]] = Counter()
        share: dict[tuple[str, ...], float] = {}
        target: dict[tuple[str, ...], float] = {}
        view = self._view
        for campaign in view.campaigns.values():
            name = campaign.name
            runs = campaign.state is CampaignState.RUNNING and campaign.desired is Desired.RUN
            running[(name,)] = float(runs)
            steps = [view.steps[ident] for ident in view.steps_of[campaign.id].values()]
            for step in steps:
                for state, count in step.group_counts.items():
                    groups[name, state] += count
                for state, count in step.job_counts.items():
                    jobs[name, state] += count
            placed = self._placing.placed(campaign.id)
            in_all = sum(placed.values())
            wanted = _targets(steps)
            for facility in {*placed, *wanted}:
                share[name, facility] = placed.get(facility, 0) / in_all if in_all else 0.0
            target |= {(name, facility): part for facility, part in wanted.items()}
        self._running.set(running)
        self._groups.set(groups)
        self._jobs.set(jobs)
        self._share.set(share)
        self._target.set(target)

    def _of_lanes(self) -> None:
        jobs: dict[tuple[str, ...], float] = {}
        calls: dict[tuple[str, ...], float] = {}
        oldest: dict[tuple[str, ...], float] = {}
        for (facility, driver), lane in self._lanes.lanes.items():
            jobs[facility, driver, "ready"] = lane.ready
            jobs[facility, driver, "flying"] = len(lane.flying)
            oldest[facility, driver] = 0.0
        now = self._clock.now()
        for (facility, driver, verb), (count, since) in self.outbox.waiting().items():
            calls[facility, driver, verb] = count
            age = max(0, now - since) / 1e6 if since is not None else 0.0
            oldest[facility, driver] = max(oldest.get((facility, driver), 0.0), age)
        self._lane_jobs.set(jobs)
        self._calls.set(calls)
        self._oldest.set(oldest)


def _targets(steps: Iterable[Step]) -> dict[str, float]:
    """The shares that a campaign's steps ask for, each step by the number of its groups; a step that is
    tied to a facility, or names no shares, asks for nothing."""
    wanted: dict[str, float] = {}
    weight = 0
    for step in steps:
        plan = step.policy.placement
        whole = sum(plan.shares.values())
        groups = sum(step.group_counts.values())
        if plan.at is not None or whole <= 0 or not groups:
            continue
        weight += groups
        for facility, part in plan.shares.items():
            wanted[facility] = wanted.get(facility, 0.0) + groups * part / whole
    return {facility: part / weight for facility, part in wanted.items()}
