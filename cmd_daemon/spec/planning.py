"""The dry run: what a campaign would do, as a tree of steps, groups and jobs. Changes nothing."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from cmd_daemon.hooks.ports import DataShare, DriverError, SplitRequest
from cmd_daemon.kernel.policy import JobTemplate, StepPolicy
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec import naming
from cmd_daemon.spec.compiling import CampaignPlan
from cmd_daemon.spec.orders import campaign_output
from cmd_daemon.spec.problems import Problem, shorten
from cmd_daemon.spec.queries import joined

Split = Callable[[SplitRequest], Awaitable[Sequence[DataShare]]]


@dataclass(frozen=True, slots=True)
class WouldRun:
    """Where a group would run now and why; no facility if it would wait, or never run. `input_bytes` is
    what there is of its inputs, None if nobody has counted them."""

    facility: str | None
    reason: str
    input_bytes: int | None = None


Place = Callable[
    [str, StepPolicy, Sequence[DataShare], Mapping[str, str]], Awaitable[Sequence[WouldRun]]
]
"""Says for a step's shares where they would run, given where the regions are; one answer for each."""

NOBODY_ASKED = WouldRun(None, "")


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job a group would have: its name, kind and the key of its first attempt."""

    name: str
    kind: JobKind
    key: str


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A group that would be made: its complete data query, its region, its estimated number of data
    ids (0: unknown), its chained collection and the run of its first attempt ("" if it processes
    nothing), its jobs in order, and where it would run."""

    name: str
    where: str
    region: str | None
    size: int
    output_chain: str
    output_run: str
    jobs: tuple[PlannedJob, ...]
    would_run: WouldRun = NOBODY_ASKED


@dataclass(frozen=True, slots=True)
class PlannedPlacement:
    """How many of a step's groups would run at a facility (None: nowhere now), the reason that most of
    them have, and the bytes of their inputs (None if not counted)."""

    facility: str | None
    groups: int
    reason: str
    input_bytes: int | None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step as it would run. `groups` is None when the groups cannot be counted yet, and `notes`
    says why; `listed` has the first of them, as many as were asked for. `size` is the sum over all
    groups. `placements` has the facilities that would run some, in the campaign's order."""

    name: str
    policy: StepPolicy
    groups: int | None
    size: int
    listed: tuple[PlannedGroup, ...]
    notes: tuple[str, ...] = ()
    placements: tuple[PlannedPlacement, ...] = ()

    @property
    def jobs(self) -> int:
        """Number of jobs of the groups that can be counted."""
        return (self.groups or 0) * len(self.policy.jobs)


@dataclass(frozen=True, slots=True)
class PlannedCampaign:
    """The whole tree, in the order of the plan's steps. `problems` would keep it from running as it
    stands; the file's warnings are with the plan."""

    plan: CampaignPlan
    steps: tuple[PlannedStep, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def groups(self) -> int:
        """Number of groups that can be counted already."""
        return sum(s.groups or 0 for s in self.steps)

    @property
    def jobs(self) -> int:
        """Number of jobs of those groups."""
        return sum(s.jobs for s in self.steps)


def jobs_of(policy: StepPolicy) -> tuple[JobTemplate, ...]:
    """The jobs that each group of the step has, in the order of their chain."""
    return policy.jobs


def split_request(
    campaign: str,
    step: str,
    policy: StepPolicy,
    regions: Mapping[str, str] | None = None,
    can_tell: Callable[[str], bool] = lambda facility: True,
) -> SplitRequest:
    """The question to the step's splitter.

    `regions` says where each region of the campaign has been placed so far. The Butler asked is
    that of the facility the split names, else of the step's own, else of the first of the campaign's
    facilities; of the latter two only one that `can_tell`, that is, has an agent, if there is one.
    """
    placement = policy.placement
    named = () if placement.at is None else (placement.at,)
    candidates = (*named, *placement.facilities)
    first = next(iter(candidates), "")
    return SplitRequest(
        campaign=campaign,
        step=step,
        facility=policy.split.at or next(filter(can_tell, candidates), first),
        butler=policy.butler,
        where=policy.where,
        inputs=policy.inputs,
        params=policy.split.params,
        region=placement.region,
        regions=dict(regions or {}),
    )


def share_problems(shares: Sequence[DataShare]) -> list[str]:
    """What is wrong with a splitter's answer, in words: names that cannot be a group's, or that are
    given twice. At most ten."""
    words: list[str] = []
    seen: set[str] = set()
    for share in shares:
        if not isinstance(share, DataShare):
            words.append(f"the splitter gave {shorten(share, 40)}, which is no data share")
        elif wrong := naming.name_problem(share.name, naming.GROUP_LENGTH):
            words.append(f"the splitter named a group '{shorten(share.name, 40)}': {wrong}")
        elif share.name in seen:
            words.append(f"the splitter named two groups '{share.name}'")
        else:
            seen.add(share.name)
        if len(words) == 10:
            break
    return words


async def plan_campaign(
    plan: CampaignPlan,
    split: Split,
    max_groups_listed: int | None = None,
    place: Place | None = None,
    regions: Mapping[str, str] | None = None,
    can_tell: Callable[[str], bool] = lambda facility: True,
) -> PlannedCampaign:
    """The tree of what the campaign would do.

    `split` asks the splitter that `plan.steps[request.step].split` names; its DriverError becomes
    a note for a step that comes after others (what it reads is not there yet), a problem for one
    that does not. `max_groups_listed` bounds the groups listed for each step; None lists all. `place`
    says where groups would run; regions get the places of their first groups, beside those in
    `regions` that they have already, and steps split within regions are split by them. `can_tell` is
    that of `split_request`.
    """
    placed = dict(regions or {})
    steps: list[PlannedStep] = []
    problems: list[Problem] = []
    for name, policy in plan.steps.items():
        if not policy.jobs:
            note = f"waits until a person signs: {policy.breakpoint}"
            steps.append(PlannedStep(name, policy, 0, 0, (), (note,)))
            continue
        notes: list[str] = []
        shares: Sequence[DataShare] = ()
        counted = True
        words: list[str] = []
        try:
            shares = await split(split_request(plan.name, name, policy, placed, can_tell))
            words = share_problems(shares)
            if not shares:
                words = ["the data query matches nothing, so the step would have no group"]
        except DriverError as error:
            words = [f"the step's data cannot be split: {error}"]
        if words and policy.after and not shares:
            before = " and ".join(f"'{s}'" for s in policy.after)
            reason = words[0].removeprefix("the step's data cannot be split: ")
            notes.append(f"cannot be counted before {before} has run: {reason}")
            counted, words = False, []
        line, column = plan.place(f"steps.{name}.split")
        problems.extend(Problem(plan.file, line, column, f"steps.{name}.split", w) for w in words)
        if words:
            counted, shares = False, ()
        answers: Sequence[WouldRun] = [NOBODY_ASKED] * len(shares)
        if place is not None and shares:
            answers = await place(name, policy, shares, placed)
        if policy.placement.at is None:
            for share, answer in zip(shares, answers, strict=True):
                if share.region is not None and answer.facility is not None:
                    placed.setdefault(share.region, answer.facility)
        if counted and "within" in policy.split.params and placed:
            notes.append("split by the places that its regions have or would get now")
        listed = list(zip(shares, answers, strict=True))[:max_groups_listed]
        steps.append(
            PlannedStep(
                name=name,
                policy=policy,
                groups=len(shares) if counted else None,
                size=sum(s.size for s in shares),
                listed=tuple(
                    _group(plan.name, name, policy, share, answer) for share, answer in listed
                ),
                notes=tuple(notes),
                placements=_placements(policy, answers) if place is not None else (),
            )
        )
    return PlannedCampaign(plan, tuple(steps), tuple(problems))


def _placements(policy: StepPolicy, answers: Sequence[WouldRun]) -> tuple[PlannedPlacement, ...]:
    found: dict[str | None, list[WouldRun]] = {name: [] for name in policy.placement.facilities}
    for answer in answers:
        found.setdefault(answer.facility, []).append(answer)
    return tuple(
        PlannedPlacement(
            facility=name,
            groups=len(there),
            reason=Counter(each.reason for each in there).most_common(1)[0][0],
            input_bytes=(
                None
                if any(each.input_bytes is None for each in there)
                else sum(each.input_bytes or 0 for each in there)
            ),
        )
        for name, there in found.items()
        if there
    )


def _group(
    campaign: str, step: str, policy: StepPolicy, share: DataShare, would_run: WouldRun
) -> PlannedGroup:
    output = campaign_output(policy, step)
    processing = any(j.kind is JobKind.PROCESS for j in policy.jobs)
    return PlannedGroup(
        name=share.name,
        where=joined(policy.where, share.where),
        region=share.region,
        size=share.size,
        output_chain=naming.group_chain(output, step, share.name) if processing else "",
        output_run=naming.output_run(output, step, share.name, 1) if processing else "",
        jobs=tuple(
            PlannedJob(j.name, j.kind, naming.key(campaign, step, share.name, j.name, 1))
            for j in policy.jobs
        ),
        would_run=would_run,
    )
