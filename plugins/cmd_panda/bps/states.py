"""The states of a BPS workflow in the daemon's words: its iDDS request, its PanDA tasks.

PanDA's tasks are what is looked at, because one call tells of all of them; the request is asked for where
they leave a doubt. A workflow is over when its final job is, which iDDS starts when all other tasks are
through, whatever came of them. Sources: the states of iDDS and JEDI; ctrl_bps_panda.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmd_daemon.hooks import ErrorClass, Phase, Progress
from cmd_panda.records import RequestRecord, TaskRecord
from cmd_panda.states import QUEUED, words_of
from cmd_panda.watching import FINAL

FINAL_JOB = "finalJob"
PARKED = "exhausted"
REQUEST_OVER = frozenset({"Finished", "SubFinished", "Failed", "Cancelled", "Expired"})
REQUEST_HELD = frozenset({"ToSuspend", "Suspending", "Suspended"})


@dataclass(frozen=True, slots=True)
class Planned:
    """One task as BPS has made it: how many jobs (input files) and quanta it has."""

    name: str
    label: str
    jobs: int
    quanta: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the states come to.

    `over`: nothing more will happen. Then `why` says what ended it, where that is not its own end, with
    the class of that; `aggregate` tells that nobody has taken what the quanta wrote into the Butler.
    `doubtful`: the request has to be asked for.
    """

    phase: Phase
    note: str = ""
    over: bool = False
    why: str = ""
    error_class: ErrorClass | None = None
    aggregate: bool = False
    doubtful: bool = False


def planned(told: Sequence[Mapping[str, Any]]) -> list[Planned]:
    """The tasks as the program at the facility tells of them."""
    return [
        Planned(str(each["name"]), str(each["label"]), int(each["jobs"]), int(each["quanta"]))
        for each in told
    ]


def matched(plan: Sequence[Planned], tasks: Sequence[TaskRecord]) -> dict[str, TaskRecord]:
    """The newest PanDA task of each planned one. iDDS puts the numbers of its request and work behind the
    name, and one more for each time that it tries again."""
    found: dict[str, TaskRecord] = {}
    names = {each.name for each in plan}
    for task in sorted(tasks, key=lambda each: each.id):
        name = task.name
        while name not in names and name.rpartition("_")[2].isdigit():
            name = name.rpartition("_")[0]
        if name in names:
            found[name] = task
    return found


def verdict(
    plan: Sequence[Planned],
    seen: Mapping[str, TaskRecord],
    request: RequestRecord | None,
    cancelled: bool,
) -> Verdict:
    """What the states come to; `cancelled`: we have asked for the end."""
    final = next(
        (seen[each.name] for each in plan if each.label == FINAL_JOB and each.name in seen), None
    )
    parked = [task for task in seen.values() if task.status == PARKED]
    waiting = [task for task in seen.values() if task.status not in FINAL and task.status != PARKED]
    state = request.status if request is not None else ""
    if final is not None and final.status in FINAL:
        return _over(parked, "", None, final.status != "done")
    # A task that is only paused looks partly finished to iDDS: there is more to come.
    if state in REQUEST_OVER and not (state in ("SubFinished", "Failed") and waiting):
        why, error_class = _end_of(request, cancelled)
        return _over(parked, why, error_class, True)
    note = _note(seen, parked, request)
    doubtful = cancelled or (bool(seen) and not waiting)
    if not seen:
        return Verdict(Phase.QUEUED, note or "PanDA has no task of it yet", doubtful=doubtful)
    queued = all(task.status in QUEUED for task in seen.values())
    return Verdict(Phase.QUEUED if queued else Phase.RUNNING, note, doubtful=doubtful)


def _over(
    parked: Sequence[TaskRecord], why: str, error_class: ErrorClass | None, aggregate: bool
) -> Verdict:
    if parked and not why:
        why, error_class = _parked_words(parked), ErrorClass.PERMANENT
    return Verdict(
        Phase.RUNNING, "counting its quanta", True, why, error_class, aggregate=aggregate
    )


def _end_of(request: RequestRecord | None, cancelled: bool) -> tuple[str, ErrorClass | None]:
    if request is None or request.status in ("Finished", "SubFinished", "Failed"):
        return "", None
    if request.status == "Cancelled":
        return (
            ("cancelled", None)
            if cancelled
            else (f"request {request.id} was cancelled at iDDS, not by this daemon", None)
        )
    return f"request {request.id} has expired at iDDS", None


def _parked_words(parked: Sequence[TaskRecord]) -> str:
    first = parked[0]
    said = f": {words_of(first.error)}" if first.error else ""
    return f"task {first.id} is parked by PanDA (exhausted), a person must decide{said}"


def _note(
    seen: Mapping[str, TaskRecord], parked: Sequence[TaskRecord], request: RequestRecord | None
) -> str:
    if request is not None and request.status in REQUEST_HELD:
        return f"request {request.id} is {request.status} at iDDS: it goes on when it is resumed"
    if parked:
        return _parked_words(parked)
    paused = [task for task in seen.values() if task.status == "paused"]
    if paused:
        return f"task {paused[0].id} is paused at PanDA: it goes on when it is resumed"
    return ""


def progress(plan: Sequence[Planned], seen: Mapping[str, TaskRecord], note: str) -> Progress:
    """Progress in quanta, from the input files of the tasks: a task's files share its quanta evenly.
    Jobs would count twice, each try of one is a new job."""
    done = failed = 0
    for each in plan:
        task = seen.get(each.name)
        if task is None or not each.jobs:
            continue
        done += each.quanta * min(task.finished, each.jobs) // each.jobs
        failed += -(-each.quanta * min(task.failed + task.missing, each.jobs) // each.jobs)
    total = sum(each.quanta for each in plan)
    return Progress(done=done, total=total, failed=min(failed, total - done), note=note)
