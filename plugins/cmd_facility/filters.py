"""The hard filters: what a facility must have before anything is weighed.

Each filter is a `Factor` of 1 (passes) or 0. Some can never pass by waiting (`lasting`): memory, cores,
wall time, stack, Butler label, a storage too small. The others may pass later: facility up, not
left out, inputs there or able to come, room in its storage. What is not known is not judged: the filter
passes and says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cmd_daemon.hooks import FacilityView, Factor, PlacementRequest
from cmd_daemon.hooks.placement import Held
from cmd_daemon.hooks.ports import Queue

PEAK = 10
"""Most bytes a group writes for each byte it reads, where nobody has estimated it: peak intermediates
are about ten times the raws. An estimate of ours, not a measured number."""

NOTHING = Held(0, 0)


def amount(size: float) -> str:
    """Bytes for people: `4.0 GB`, `512.0 kB`; decimal units, as disks and links are sold."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


@dataclass(frozen=True, slots=True)
class Fit:
    """Which facilities could run a request, and every filter that says so.

    `asked` are the facilities looked at, in the campaign's order (of their names if it gives none);
    `good` are those that fit now, `waits` those that would do but not now.
    """

    asked: tuple[str, ...]
    factors: tuple[Factor, ...]
    good: tuple[str, ...]
    waits: tuple[str, ...]

    def words(self) -> str:
        """Why no facility fits, for people."""
        failed = [
            f"{factor.facility}: {factor.detail or factor.name}"
            for factor in self.factors
            if not factor.passed
        ]
        return f"no facility fits now: {'; '.join(failed) or 'none is configured'}"

    def why_not(self, name: str) -> str:
        """What is wrong with one facility, for people."""
        failed = [
            factor.detail or factor.name
            for factor in self.factors
            if factor.facility == name and not factor.passed
        ]
        return "; ".join(failed) or "the campaign does not allow that facility"


@lru_cache(maxsize=4096)
def not_judged(facility: str, name: str, why: str) -> Factor:
    """The line of a filter or weight that could not be judged: it counts as 1."""
    return Factor(facility, name, 1.0, True, f"not judged: {why}")


@lru_cache(maxsize=4096)
def passed(facility: str, name: str) -> Factor:
    """The line of a filter that passes, one object for all who look at the same."""
    return Factor(facility, name, 1.0, True, "")


def failed(facility: str, name: str, detail: str) -> Factor:
    """The line of a filter that fails; `detail` says what is asked for and what is there."""
    return Factor(facility, name, 0.0, False, detail)


def static_fit(request: PlacementRequest, views: Mapping[str, FacilityView]) -> Fit:
    """The filters that are the same for all requests that ask for the same resources."""
    names: tuple[str, ...] = request.facilities or tuple(sorted(views))
    if request.at is not None:
        names = (request.at,)
    factors: list[Factor] = []
    good: list[str] = []
    waits: list[str] = []
    for name in names:
        view = views.get(name)
        if view is None:
            factors.append(failed(name, "known", "no facility of this daemon"))
            continue
        lasting = lasting_filters(request, view)
        passing = [_up(view)]
        if name in request.exclude:
            passing.append(failed(name, "excluded", "left out of this question"))
        factors += lasting
        factors += passing
        if all(factor.passed for factor in lasting):
            (good if all(factor.passed for factor in passing) else waits).append(name)
    return Fit(names, tuple(factors), tuple(good), tuple(waits))


def with_data(
    fit: Fit,
    request: PlacementRequest,
    views: Mapping[str, FacilityView],
    claimed: Mapping[str, int],
) -> Fit:
    """A static fit with the filters of the group's own data added: inputs and storage.

    `claimed` are bytes claimed at each facility by decisions the views do not show yet.
    """
    factors = list(fit.factors)
    bad: set[str] = set()
    never: set[str] = set()
    for name in fit.asked:
        view = views.get(name)
        if view is None:
            continue
        inputs = inputs_filter(request, view)
        storage, lasting = storage_filter(request, view, claimed.get(name, 0))
        factors += (inputs, storage)
        if not (inputs.passed and storage.passed):
            bad.add(name)
            if lasting:
                never.add(name)
    if not bad:
        return Fit(fit.asked, tuple(factors), fit.good, fit.waits)
    good = tuple(name for name in fit.good if name not in bad)
    late = (*fit.waits, *(name for name in fit.good if name in bad))
    waits = tuple(name for name in late if name not in never)
    return Fit(fit.asked, tuple(factors), good, waits)


def lasting_filters(request: PlacementRequest, view: FacilityView) -> list[Factor]:
    """The filters that waiting cannot change: a job that fits no memory class of a facility can never
    run there, whatever its share (a 480 GB fit needs a 500 GB node)."""
    found = _class_filters(request, view) if view.queues else _limit_filters(request, view)
    name, info = view.info.name, view.info
    if request.stack:
        lacks = f"it has no stack '{request.stack}'"
        found.append(_judge(name, "stack", request.stack in info.stacks, lacks))
    if request.butler:
        lacks = f"it has no Butler repository '{request.butler}'"
        found.append(_judge(name, "butler", request.butler in info.butlers, lacks))
    return found


def inputs_filter(request: PlacementRequest, view: FacilityView) -> Factor:
    """The inputs must be there, or have a way to come: a link, not blocked, from a facility that
    holds some of them."""
    name, total = view.info.name, request.inputs_total
    if total is None:
        return not_judged(name, "inputs", "nobody has counted the inputs")
    held = request.inputs.get(name, NOTHING)
    files = max(0, total.files - held.files)
    if not files and held.bytes >= total.bytes:
        return passed(name, "inputs")
    lacks = f"{files} of {total.files} input files are missing"
    if view.links is None:
        return not_judged(name, "inputs", f"{lacks}, and its links are not known")
    from_here = sources(request, view)
    if from_here:
        come = f"{lacks} and can come from {', '.join(sorted(from_here))}"
        return Factor(name, "inputs", 1.0, True, come)
    return failed(name, "inputs", f"{lacks}, and no facility that holds any has an open link to it")


def sources(request: PlacementRequest, view: FacilityView) -> list[str]:
    """Facilities that hold some of the inputs and have an open link to this one."""
    links = view.links or {}
    return [
        name
        for name, held in request.inputs.items()
        if name != view.info.name and held.files and name in links and not links[name].blocked
    ]


def storage_need(request: PlacementRequest, facility: str) -> int | None:
    """Bytes a group needs at a facility: inputs that have to come, and the most it will write,
    `PEAK` times its inputs where nobody has estimated that. None if nothing is known."""
    total = request.inputs_total
    missing = 0
    if total is not None:
        missing = max(0, total.bytes - request.inputs.get(facility, NOTHING).bytes)
    if request.output_bytes is not None:
        return missing + request.output_bytes
    return None if total is None else missing + PEAK * total.bytes


def storage_filter(
    request: PlacementRequest, view: FacilityView, claimed: int
) -> tuple[Factor, bool]:
    """Head-room for the group's peak: need <= free - claimed. Also says whether a failure lasts,
    because the whole storage is smaller than the need."""
    name = view.info.name
    need = storage_need(request, name)
    if need is None:
        return not_judged(name, "storage", "nobody has estimated the group's bytes"), False
    if view.total_bytes is not None and need > view.total_bytes:
        words = f"{amount(need)} needed, all its storage is {amount(view.total_bytes)}"
        return failed(name, "storage", words), True
    if view.free_bytes is None:
        return not_judged(name, "storage", "its free space is not known"), False
    claims = view.claimed_bytes + claimed
    if need <= view.free_bytes - claims:
        return passed(name, "storage"), False
    words = f"{amount(need)} needed, {amount(view.free_bytes)} free, of which {amount(claims)} are claimed"
    return failed(name, "storage", words), False


def _up(view: FacilityView) -> Factor:
    if view.up:
        return Factor(view.info.name, "up", 1.0, True, view.reason)
    return failed(view.info.name, "up", view.reason)


def _judge(facility: str, name: str, good: bool, detail: str) -> Factor:
    return passed(facility, name) if good else failed(facility, name, detail)


def _limit_filters(request: PlacementRequest, view: FacilityView) -> list[Factor]:
    """Against the configuration's limits, where the memory classes are not known."""
    info = view.info
    memory = f"{amount(request.memory)} of memory asked for, it has {amount(info.memory)}"
    cores = f"{request.cores} cores asked for, it has {info.cores}"
    wall = f"{request.walltime_s:g} s of wall time asked for, it allows {info.walltime_s:g} s"
    return [
        _judge(info.name, "memory", request.memory <= info.memory, memory),
        _judge(info.name, "cores", request.cores <= info.cores, cores),
        _judge(info.name, "walltime", request.walltime_s <= info.walltime_s, wall),
    ]


def _class_filters(request: PlacementRequest, view: FacilityView) -> list[Factor]:
    """Against the memory classes: one class must have all three, so each filter looks only at the
    classes that passed the one before."""
    name, classes = view.info.name, view.queues
    found = []
    most = max(queue.memory for queue in classes)
    memory = f"{amount(request.memory)} of memory asked for, its largest class has {amount(most)}"
    found.append(_judge(name, "memory", request.memory <= most, memory))
    classes = tuple(queue for queue in classes if queue.memory >= request.memory) or classes
    widest = max(queue.cores for queue in classes)
    cores = f"{request.cores} cores asked for, its classes with that memory have {widest}"
    found.append(_judge(name, "cores", request.cores <= widest, cores))
    classes = tuple(queue for queue in classes if queue.cores >= request.cores) or classes
    longest = max(queue.walltime_s for queue in classes)
    wall = (
        f"{request.walltime_s:g} s of wall time asked for, "
        f"its classes with that memory and those cores allow {longest:g} s"
    )
    found.append(_judge(name, "walltime", request.walltime_s <= longest, wall))
    return found


def fitting_queues(request: PlacementRequest, view: FacilityView) -> tuple[Queue, ...]:
    """The memory classes that could run a request; empty if they are not known."""
    return tuple(
        queue
        for queue in view.queues
        if queue.memory >= request.memory
        and queue.cores >= request.cores
        and queue.walltime_s >= request.walltime_s
    )
