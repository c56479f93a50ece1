"""Sums of a report: the campaign in a dozen figures, its steps and facilities, and differences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.statistics_pb2 import Cost
from cmd_api.v1.step_pb2 import Step

from cm_client.words import duration, size

from .reading import Report

HOUR = 3600.0
LOST = ("FAILED", "REJECTED", "CANCELLED")


@dataclass(slots=True)
class Line:
    """Sums over attempts: of a step, of a facility, or of a step at a facility. Times in seconds."""

    groups: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    failed: int = 0
    retries: int = 0
    seconds: float = 0.0
    failed_seconds: float = 0.0
    core_seconds: float = 0.0
    failed_core_seconds: float = 0.0
    bytes: int = 0

    def add(self, cost: Cost) -> None:
        """Count these attempts in."""
        self.attempts += cost.attempts
        self.failed += cost.failed
        self.retries += cost.retries
        self.seconds += cost.seconds
        self.failed_seconds += cost.failed_seconds
        self.core_seconds += cost.core_seconds
        self.failed_core_seconds += cost.failed_core_seconds


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: `kind` is count, seconds, hours (of cores) or bytes; more is good, bad or neither."""

    key: str
    name: str
    value: float
    kind: str = "count"
    good: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure beside that of the former campaign; `share` of the former one, None if that is 0."""

    figure: Figure
    former: Figure

    @property
    def change(self) -> float:
        return self.figure.value - self.former.value

    @property
    def share(self) -> float | None:
        return self.change / self.former.value if self.former.value else None

    @property
    def look(self) -> str:
        """done for better, bad for worse, "" for neither."""
        sign = (self.change > 0) - (self.change < 0)
        return {1: "done", -1: "bad"}.get(sign * self.figure.good, "")


@dataclass(slots=True)
class Sums:
    """`steps` by name in their order, `places` by step and facility (resource names)."""

    whole: Line
    steps: dict[str, Line]
    facilities: dict[str, Line]
    places: dict[tuple[str, str], Line]


def sums(report: Report) -> Sums:
    """Everything by step and facility. Groups that are not placed are at facility ""."""
    found = Sums(Line(), {step.name: Line() for step in report.steps}, {}, {})

    def lines(step: str, facility: str) -> tuple[Line, ...]:
        return (
            found.whole,
            found.steps.setdefault(step, Line()),
            found.facilities.setdefault(facility, Line()),
            found.places.setdefault((step, facility), Line()),
        )

    for count in report.counts:
        for line in lines(count.step, count.facility):
            line.groups[count.state] += count.count
    for cost in report.costs.costs:
        for line in lines(cost.step, cost.facility):
            line.add(cost)
    for part in report.activity.parts:
        for line in lines(part.step, part.facility):
            line.bytes += sum(part.bytes)
    return found


def elapsed(entity: Campaign | Step, now: float) -> float:
    """Seconds from the start of a campaign or step to its end, or to now; 0 if not started."""
    if not entity.start_time.seconds:
        return 0.0
    end = entity.finish_time.ToMicroseconds() / 1e6 if entity.finish_time.seconds else now
    return max(0.0, end - entity.start_time.ToMicroseconds() / 1e6)


def figures(report: Report) -> list[Figure]:
    """The campaign in a dozen figures."""
    whole = sums(report).whole
    quanta = report.campaign.quanta
    groups = sum(whole.groups.values())
    lost = sum(whole.groups[state] for state in LOST)
    return [
        Figure("groups", "groups", groups),
        Figure("groups_accepted", "groups accepted", whole.groups["ACCEPTED"], good=1),
        Figure("groups_lost", "groups lost", lost, good=-1),
        Figure("quanta", "quanta expected", quanta.expected),
        Figure("quanta_succeeded", "quanta succeeded", quanta.succeeded, good=1),
        Figure("quanta_lost", "quanta given up", quanta.lost, good=-1),
        Figure("elapsed", "time", elapsed(report.campaign, report.at), "seconds", -1),
        Figure("attempts", "attempts", whole.attempts),
        Figure("failed", "attempts failed", whole.failed, good=-1),
        Figure("retries", "retries", whole.retries, good=-1),
        Figure("core_seconds", "core-hours", whole.core_seconds, "hours"),
        Figure("failed_core_seconds", "core-hours failed", whole.failed_core_seconds, "hours", -1),
        Figure("bytes", "bytes moved", whole.bytes, "bytes"),
    ]


def differences(report: Report, former: Report) -> list[Difference]:
    """The figures of both, one beside the other."""
    pairs = zip(figures(report), figures(former), strict=True)
    return [Difference(*pair) for pair in pairs]


def step_times(report: Report, former: Report) -> list[tuple[str, float, float]]:
    """Steps with groups that both have, with their times in seconds."""
    past = {part(step.name): elapsed(step, former.at) for step in begun(former.steps, sums(former))}
    return [
        (part(step.name), elapsed(step, report.at), past[part(step.name)])
        for step in begun(report.steps, sums(report))
        if part(step.name) in past
    ]


def begun(steps: list[Step], of: Sums) -> list[Step]:
    """Steps that have groups; pure breakpoints have none."""
    return [step for step in steps if of.steps[step.name].groups]


def part(name: str) -> str:
    """The last part of a resource name."""
    return name.rpartition("/")[2]


def hours(core_seconds: float) -> str:
    """Core-seconds as core-hours, to three digits: 1,234, 12.3, 0.0123."""
    value = core_seconds / HOUR
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown(kind: str, value: float) -> str:
    """A value as its kind is shown."""
    match kind:
        case "seconds":
            return duration(value)
        case "hours":
            return hours(value)
        case "bytes":
            return size(value)
    return f"{value:,.0f}"


def change_text(each: Difference) -> str:
    """+12 (+5 %), or "same"."""
    if not each.change:
        return "same"
    sign = "+" if each.change > 0 else "−"
    share = f" ({_percent(each.share)})" if each.share is not None else ""
    return f"{sign}{shown(each.figure.kind, abs(each.change))}{share}"


def time_change(now: float, then: float) -> str:
    """The difference of two times in seconds, as `change_text` says it."""
    return change_text(Difference(Figure("", "", now, "seconds"), Figure("", "", then, "seconds")))


def _percent(share: float) -> str:
    return f"{100 * share:+,.0f} %".replace("-", "−")
