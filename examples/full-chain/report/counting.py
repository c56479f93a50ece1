"""Counts, ways of the data and problems, worked out from what the daemon told."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import words
from reading import Facts, JobAttempt

from cm_client import parse_name, short_name
from cmd_api.v1 import group_pb2, step_pb2

STAGES = ("made", "sent", "arrived", "ingested")
TROUBLE = frozenset({"HELD", "REVIEW", "UNCERTAIN", "FAILED", "REJECTED", "CANCELLED"})
PURGE = "purge"


@dataclass(slots=True)
class Tally:
    """Groups, jobs, quanta and attempts of one step at one facility, or of several together.

    `expected` and `succeeded` are quanta after all attempts, `failed` quanta that failed in any
    attempt, `busy_s` seconds of all attempts together.
    """

    groups: int = 0
    accepted: int = 0
    attention: int = 0
    expected: int = 0
    succeeded: int = 0
    lost: int = 0
    failed: int = 0
    attempts: int = 0
    retries: int = 0
    busy_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take another one in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def tallies(facts: Facts) -> dict[tuple[str, str], Tally]:
    """A tally for each step and facility, in the order of the file and of the facilities. Groups that
    have no place yet are under the facility ""."""
    found: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for group in facts.groups:
        tally = found[parse_name(group.name).parts[1], short_name(group.facility)]
        tally.groups += 1
        state = group_pb2.Group.State.Name(group.state).removeprefix("STATE_")
        tally.accepted += state == "ACCEPTED"
        tally.attention += state in TROUBLE
        tally.expected += group.quanta.expected
        tally.succeeded += group.quanta.succeeded
        tally.lost += group.quanta.lost
    for each in facts.attempts:
        tally = found[each.step, each.facility]
        tally.attempts += 1
        tally.retries += each.attempt.number > 1
        tally.failed += sum(task.failed for task in each.attempt.tasks)
        if each.started is not None:
            tally.busy_s += max(0.0, (each.ended or facts.read_at) - each.started)
    order = [*facts.facility_names, ""]
    return {
        (step, facility): found[step, facility]
        for step in facts.step_names
        for facility in order
        if (step, facility) in found
    }


def total(counted: Iterable[Tally]) -> Tally:
    """All of them together."""
    whole = Tally()
    for tally in counted:
        whole.add(tally)
    return whole


@dataclass(slots=True)
class Way:
    """What went from one place to another by one movement. `files` and `bytes` have arrived."""

    source: str
    destination: str
    movement: str
    expected: int = 0
    files: int = 0
    bytes: int = 0
    gaps: int = 0
    types: dict[str, None] = field(default_factory=dict)

    @property
    def stays(self) -> bool:
        """Whether it was there already: counted in the books, moved nowhere."""
        return self.source == self.destination


def ways(facts: Facts) -> list[Way]:
    """Every way that data took, most bytes first, what stays at its place last; purges are none."""
    found: dict[tuple[str, str, str], Way] = {}
    for _, entry in sums(facts):
        if entry.movement == PURGE:
            continue
        source, destination = short_name(entry.source), short_name(entry.destination)
        key = (source, destination, entry.movement)
        way = found.setdefault(key, Way(*key))
        way.expected += entry.made - entry.not_for_here
        way.files += entry.arrived
        way.bytes += entry.bytes
        way.gaps += entry.gap_count
        way.types[entry.dataset_type] = None
    return sorted(found.values(), key=lambda way: (way.stays, -way.bytes))


def sums(facts: Facts) -> Iterator[tuple[str, step_pb2.NexusEntry]]:
    """The nexus log summed over the groups of each step: step and entry, in the order of the file."""
    for step in facts.step_names:
        for entry in facts.nexus.get(step, ()):
            if "/groups/" not in entry.group:
                yield step, entry


def gaps(facts: Facts) -> Iterator[step_pb2.NexusEntry]:
    """The entries of single groups that have gaps."""
    for step in facts.step_names:
        for entry in facts.nexus.get(step, ()):
            if "/groups/" in entry.group and entry.gaps:
                yield entry


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that did not go as it should. `open` while nothing has become of it yet."""

    at: float
    where: str
    facility: str
    what: str
    message: str
    ending: str
    open: bool


def problems(facts: Facts) -> list[Problem]:
    """Failed attempts, and groups and steps that waited for a person or ended badly; oldest first."""
    return sorted([*_attempts(facts), *_entities(facts)], key=lambda problem: problem.at)


def _attempts(facts: Facts) -> Iterator[Problem]:
    by_job: dict[str, list[JobAttempt]] = defaultdict(list)
    for each in facts.attempts:
        by_job[each.job.name].append(each)
    for tried in by_job.values():
        for each, following in zip(tried, [*tried[1:], None], strict=True):
            attempt = each.attempt
            if attempt.state in ("SUCCEEDED", "SUBMITTING", "RUNNING"):
                continue
            if following is not None:
                state = following.attempt.state.lower()
                done = words.seconds(following.attempt.finish_time)
                after = f" after {words.duration(done - (each.ended or done))}" if done else ""
                ending, open_ = f"attempt {following.attempt.number} {state}{after}", False
            else:
                state = type(each.job).State.Name(each.job.state).removeprefix("STATE_")
                open_ = state in ("HELD", "UNCERTAIN") or not facts.finished
                ending = f"the job is {state}" + (f": {each.job.reason}" if each.job.reason else "")
            first = [
                f"{f.task} {f.data_id}: {f.message}"
                for f in attempt.failures
                if f.task and f.message not in attempt.message
            ]
            yield Problem(
                at=each.ended or each.started or facts.started,
                where=each.title,
                facility=each.facility,
                what=f"attempt {attempt.number} {attempt.state}",
                message=(attempt.message or attempt.error_class) + _listed(first),
                ending=ending,
                open=open_,
            )


def _listed(failures: list[str]) -> str:
    if not failures:
        return ""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f" — {failures[0].strip()}{more}"


def _entities(facts: Facts) -> Iterator[Problem]:
    breakpoints = {step.name for step in facts.steps if step.breakpoint}
    events = [e for e in facts.events if e.kind in ("campaign", "step", "group")]
    for position, event in enumerate(events):
        if event.to_state not in TROUBLE or event.to_state == event.from_state:
            continue
        if event.name in breakpoints and event.to_state == "REVIEW":
            continue
        left = next(
            (
                later
                for later in events[position + 1 :]
                if later.name == event.name and later.from_state != later.to_state
            ),
            None,
        )
        ending = "still so"
        if left is not None:
            ending = f"{left.to_state} by {left.actor}" + (
                f": {left.reason}" if left.reason else ""
            )
        yield Problem(
            at=words.seconds(event.time) or facts.started,
            where="/".join(parse_name(event.name).parts[1:]) or facts.title,
            facility=event.facility,
            what=f"{event.kind} {event.to_state}",
            message=event.reason or event.cause,
            ending=ending,
            open=left is None and event.to_state in ("HELD", "REVIEW", "UNCERTAIN"),
        )
