"""The dry run."""

from collections.abc import Mapping, Sequence

import pytest
from spec_cases import SPLITTERS, campaign

from cmd_daemon.hooks.ports import DataShare, DriverError, SplitRequest
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.policy import StepPolicy
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec import (
    CampaignPlan,
    PlannedGroup,
    PlannedJob,
    PlannedPlacement,
    WouldRun,
    jobs_of,
    plan_campaign,
    split_request,
)

TAIL = """\
    where: instrument = 'HSC'
    steps:
      a: {pipeline: p, split: {by: tract, values: [1, 2, 3]}}
      look: {after: [a], breakpoint: look at it}
      b: {after: [look], pipeline: p, split: {by: visit, size: 2}, then: [{script: s}]}
"""


def splitting(plan: CampaignPlan, answer: Sequence[DataShare] | DriverError | None = None):  # type: ignore[no-untyped-def]
    """A split that asks the values splitter, and gives `answer` for the query splitter."""

    async def split(request: SplitRequest) -> Sequence[DataShare]:
        name = plan.steps[request.step].split.splitter
        if name == "query":
            if isinstance(answer, DriverError):
                raise answer
            return answer or []
        return await SPLITTERS[name].split(request)

    return split


async def test_the_tree() -> None:
    plan = campaign(TAIL)
    planned = await plan_campaign(plan, splitting(plan, [DataShare("0001", "visit = 1", "r", 5)]))
    a, look, b = planned.steps
    assert (a.groups, a.size, a.jobs, len(a.listed)) == (3, 9, 6, 3)
    assert (look.groups, look.notes) == (0, ("waits until a person signs: look at it",))
    assert b.listed == (
        PlannedGroup(
            name="0001",
            where="(instrument = 'HSC') AND (visit = 1)",
            region="r",
            size=5,
            output_chain="u/pilot1/toy/b/0001",
            output_run="u/pilot1/toy/b/0001/a1",
            jobs=(
                PlannedJob("process", JobKind.PROCESS, "toy/b/0001/process#1"),
                PlannedJob("collect", JobKind.COLLECT, "toy/b/0001/collect#1"),
                PlannedJob("after-1", JobKind.SCRIPT, "toy/b/0001/after-1#1"),
            ),
        ),
    )
    assert (planned.groups, planned.jobs, planned.problems) == (4, 9, ())
    assert jobs_of(plan.steps["a"]) == plan.steps["a"].jobs


async def test_no_more_groups_are_listed_than_asked_for() -> None:
    plan = campaign(TAIL)
    planned = await plan_campaign(plan, splitting(plan, [DataShare("x")]), max_groups_listed=2)
    assert (planned.steps[0].groups, [g.name for g in planned.steps[0].listed]) == (3, ["1", "2"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (DriverError(ErrorClass.PERMANENT, "no collection 'x'"), "no collection 'x'"),
        ([], "the data query matches nothing, so the step would have no group"),
    ],
)
async def test_what_cannot_be_counted_yet(answer: object, words: str) -> None:
    plan = campaign(TAIL)
    planned = await plan_campaign(plan, splitting(plan, answer))  # type: ignore[arg-type]
    assert planned.steps[2].groups is None
    assert planned.steps[2].notes == (f"cannot be counted before 'look' has run: {words}",)
    assert planned.problems == ()


async def test_what_will_never_work() -> None:
    plan = campaign("steps:\n  b: {pipeline: p, split: {by: visit, size: 2}}\n")
    error = DriverError(ErrorClass.PERMANENT, "no dimension 'vist'")
    planned = await plan_campaign(plan, splitting(plan, error))
    assert [str(p) for p in planned.problems] == [
        "toy.yaml:7:20: steps.b.split: the step's data cannot be split: no dimension 'vist'"
    ]
    planned = await plan_campaign(plan, splitting(plan))
    assert "the data query matches nothing" in str(planned.problems[0])
    shares = [DataShare("a"), DataShare("a"), DataShare("x/y"), None]
    planned = await plan_campaign(plan, splitting(plan, shares))  # type: ignore[arg-type]
    assert [p.message for p in planned.problems] == [
        "the splitter named two groups 'a'",
        "the splitter named a group 'x/y': a name is made of letters, digits, '.', '_' and '-', "
        "beginning with a letter or digit",
        "the splitter gave None, which is no data share",
    ]
    assert planned.steps[0].groups is None


REGIONS = """\
    placement: {region: tract}
    steps:
      check: {before: [{script: s}], split: {by: tract, values: [1, 2, 3]}}
      visits: {after: [check], pipeline: p, split: {by: visit, within: tract}}
      all-sky: {after: [visits], pipeline: p, at: USDF}
"""


async def test_where_groups_would_run_and_how_regions_follow() -> None:
    plan = campaign(REGIONS)
    asked: list[Mapping[str, str]] = []

    async def split(request: SplitRequest) -> Sequence[DataShare]:
        if request.step != "visits":
            step = plan.steps[request.step]
            values = step.split.params.get("values") or ["all"]
            return [DataShare(str(v), region=None if v == "all" else f"tract/{v}") for v in values]
        asked.append(request.regions)
        return [DataShare(r.removeprefix("tract/"), region=r) for r in request.regions]

    async def place(
        step: str, policy: StepPolicy, shares: Sequence[DataShare], regions: Mapping[str, str]
    ) -> Sequence[WouldRun]:
        first = {"1": WouldRun("FrDF", "best", 10), "2": WouldRun(None, "no room", 5)}
        if step == "check":
            return [first.get(share.name, WouldRun("USDF", "best", 7)) for share in shares]
        return [WouldRun(regions.get(str(share.region), "USDF"), "its region") for share in shares]

    planned = await plan_campaign(plan, split, None, place, {"tract/3": "USDF"})
    check, visits, all_sky = planned.steps
    assert check.placements == (
        PlannedPlacement("USDF", 1, "best", 7),
        PlannedPlacement("FrDF", 1, "best", 10),
        PlannedPlacement(None, 1, "no room", 5),
    )
    assert [group.would_run.facility for group in check.listed] == ["FrDF", None, "USDF"]
    assert {(group.output_chain, group.output_run) for group in check.listed} == {("", "")}
    assert asked == [{"tract/3": "USDF", "tract/1": "FrDF"}]
    assert [(p.facility, p.groups, p.input_bytes) for p in visits.placements] == [
        ("USDF", 1, None),
        ("FrDF", 1, None),
    ]
    assert visits.notes == ("split by the places that its regions have or would get now",)
    assert [(p.facility, p.groups) for p in all_sky.placements] == [("USDF", 1)]


async def test_a_step_split_within_regions_waits_for_their_places() -> None:
    plan = campaign(REGIONS)
    error = DriverError(ErrorClass.PERMANENT, "none of its tracts has a place")
    planned = await plan_campaign(plan, splitting(plan, error))
    assert planned.steps[1].notes == (
        "cannot be counted before 'check' has run: none of its tracts has a place",
    )
    assert planned.steps[0].placements == ()


def test_whose_butler_is_asked() -> None:
    plan = campaign(
        """\
        steps:
          anywhere: {pipeline: p, split: {by: visit, size: 1}}
          there: {pipeline: p, at: FrDF, split: {by: visit, size: 1}}
          named: {pipeline: p, at: FrDF, split: {by: visit, size: 1, at: UKDF}}
        """
    )

    def asked(step: str, **more: object) -> str:
        return split_request("toy", step, plan.steps[step], **more).facility  # type: ignore[arg-type]

    assert [asked(step) for step in plan.steps] == ["USDF", "FrDF", "UKDF"]
    only_frdf = lambda name: name == "FrDF"  # noqa: E731
    only_usdf = lambda name: name == "USDF"  # noqa: E731
    assert asked("anywhere", can_tell=only_frdf) == "FrDF"
    assert asked("there", can_tell=only_usdf) == "USDF"
    assert asked("anywhere", can_tell=lambda name: False) == "USDF"
    assert asked("named", can_tell=only_frdf) == "UKDF"
    assert split_request("toy", "named", plan.steps["named"]).params == {"by": "visit", "size": 1}
