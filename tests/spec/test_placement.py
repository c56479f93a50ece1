"""Where groups run, as a file says it: for the campaign, in the defaults, for a step."""

import pytest
from spec_cases import campaign, complaints_after_head, read

from cmd_daemon.kernel.policy import PlacementPlan
from cmd_daemon.spec import changes
from cmd_daemon.store.codec import policy_of, policy_text

ALL = """\
    placement:
      algorithm: share
      region: tract
      shares: {USDF: 0.5, FrDF: 0.5}
      pins: {FrDF: tract = 1}
      inputs: [raw]
      params: {margin: 0.3}
"""


def steps(*lines: str) -> dict[str, PlacementPlan]:
    """The placements of steps of a campaign with `ALL`."""
    plan = campaign(ALL + "    steps:\n" + "".join(f"      {line}\n" for line in lines))
    return {name: policy.placement for name, policy in plan.steps.items()}


def test_the_campaigns_placement_holds_for_every_step() -> None:
    found = steps("a: {pipeline: p}")["a"]
    assert found == PlacementPlan(
        algorithm="share",
        facilities=("USDF", "FrDF"),
        region="tract",
        shares={"USDF": 0.5, "FrDF": 0.5},
        pins={"FrDF": "tract = 1"},
        inputs=("raw",),
        params={"margin": 0.3},
    )


def test_a_steps_own_keys_win_one_by_one() -> None:
    found = steps(
        "a: {pipeline: p, placement: {inputs: [], params: {when_down: replace}}}",
        "b: {pipeline: p, placement: {algorithm: balanced, region: healpix3}}",
        "c: {pipeline: p, at: USDF, placement: {region: null, pins: null, shares: {FrDF: 1}}}",
    )
    assert (found["a"].inputs, found["a"].params) == ((), {"margin": 0.3, "when_down": "replace"})
    assert found["a"].shares == {"USDF": 0.5, "FrDF": 0.5}
    assert (found["b"].algorithm, found["b"].region) == ("balanced", "healpix3")
    assert (found["b"].inputs, found["b"].pins) == (("raw",), {"FrDF": "tract = 1"})
    assert (found["c"].at, found["c"].region, found["c"].pins) == ("USDF", None, {})
    assert (found["c"].shares, found["c"].algorithm) == ({"FrDF": 1.0}, "share")


def test_defaults_stand_between_the_campaign_and_the_step() -> None:
    plan = campaign(
        """\
        placement: {algorithm: locality, params: {margin: 0.3}}
        defaults: {placement: {algorithm: balanced, region: tract}}
        steps:
          a: {pipeline: p, placement: {region: healpix3}}
          b: {pipeline: p, placement: null}
        """
    )
    a, b = plan.steps["a"].placement, plan.steps["b"].placement
    assert (a.algorithm, a.region, a.params) == ("balanced", "healpix3", {"margin": 0.3})
    assert (b.algorithm, b.region, b.params) == ("locality", None, {"margin": 0.3})


def test_the_campaigns_inputs_count_where_nothing_was_made_before() -> None:
    found = steps(
        "check: {before: [{script: s}]}",
        "visits: {after: [check], pipeline: p}",
        "look: {after: [visits], breakpoint: look}",
        "coadd: {after: [look], pipeline: p}",
        "again: {after: [look], pipeline: p, placement: {inputs: [raw, warp]}}",
    )
    assert {name: plan.inputs for name, plan in found.items() if name != "look"} == {
        "check": ("raw",),
        "visits": ("raw",),
        "coadd": (),
        "again": ("raw", "warp"),
    }


def test_the_store_keeps_all_of_it() -> None:
    plan = campaign(ALL + "    steps: {a: {pipeline: p, split: {by: visit, size: 1, at: UKDF}}}\n")
    policy = plan.steps["a"]
    assert policy_of(policy_text(policy)) == policy
    assert policy.split.at == "UKDF"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "a: {pipeline: p, placement: {algorithm: shares}}",
            "toy.yaml:7:43: steps.a.placement.algorithm: there is no algorithm 'shares' "
            "(did you mean 'share'?)",
        ),
        (
            "a: {pipeline: p, placement: {shares: {UKDF: 1}}}",
            "toy.yaml:7:41: steps.a.placement.shares.UKDF: 'UKDF' is not one of this campaign's "
            "facilities (did you mean 'USDF'?)",
        ),
        (
            "a: {pipeline: p, placement: {algorithm: share}}",
            "toy.yaml:7:43: steps.a.placement.algorithm: the algorithm 'share' needs the shares "
            "(add shares: {FACILITY: 0.5, ...})",
        ),
        (
            "a: {pipeline: p, placement: {inputs: ['raw*']}}",
            "toy.yaml:7:41: steps.a.placement.inputs[0]: 'raw*' is no dataset type's name",
        ),
        (
            "a: {breakpoint: x, placement: {region: tract}}",
            "toy.yaml:7:22: steps.a.placement: a breakpoint only waits for a signature, 'placement' "
            "has no meaning in it (make the breakpoint a step of its own, after this one)",
        ),
        (
            "a: {pipeline: p, keep: {datasets: [x], at: NODF}}",
            "toy.yaml:7:46: steps.a.keep.at: there is no facility 'NODF' "
            "(facilities: USDF, FrDF, UKDF)",
        ),
        (
            "a: {pipeline: p, split: {by: visit, size: 1, at: XX}}",
            "toy.yaml:7:52: steps.a.split.at: there is no facility 'XX' "
            "(facilities: USDF, FrDF, UKDF)",
        ),
    ],
)
def test_what_people_are_told(line: str, problem: str) -> None:
    assert complaints_after_head(f"steps:\n  {line}\n") == [problem]


def test_a_change_of_a_placement_is_shown_where_it_is_written() -> None:
    text = "    steps: {a: {pipeline: p}, b: {pipeline: p, after: [a]}}\n"
    old = campaign(ALL + text)
    listed, refused = changes(old, campaign(ALL.replace("[raw]", "[raw, flat]") + text), {})
    assert [str(each) for each in listed] == ["placement.inputs: raw -> raw, flat"]
    listed, refused = changes(old, campaign(ALL.replace("0.3", "0.4") + text), {})
    assert [str(each) for each in listed] == ["placement.params: margin: 0.3 -> margin: 0.4"]
    own = text.replace("after: [a]", "after: [a], placement: {inputs: [warp], params: {x: 1}}")
    listed, refused = changes(old, campaign(ALL + own), {"b": frozenset({"all"})})
    assert [str(each) for each in listed] == [
        "steps.b.placement.inputs: (nothing) -> [warp]",
        "steps.b.placement.params: (nothing) -> margin: 0.3, x: 1",
    ]
    assert refused == ()
    listed, _ = changes(
        old, campaign(ALL + text.replace("p}, b", "p, placement: {inputs: []}}, b")), {}
    )
    assert [str(each) for each in listed] == ["steps.a.placement.inputs: (nothing) -> []"]


WITHIN = """\
placement: {region: tract}
steps:
  check: {before: [{script: s}], split: {by: tract, size: 1}}
  look: {after: [check], breakpoint: look}
  visits: {after: [look], pipeline: p, split: {by: visit, within: tract, size: 4}}
"""


def test_a_split_within_regions() -> None:
    split = campaign(WITHIN).steps["visits"].split
    assert (split.splitter, split.params) == (
        "query",
        {"by": "visit", "within": "tract", "size": 4},
    )


NO_PLACE = (
    "no step before this one gives each tract a place (name a step under 'after' that is split by "
    "tract, one a group, and has no 'at')"
)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("by: tract, size: 1", "by: tract, size: 2", NO_PLACE),
        ("by: tract, size: 1", "by: visit, size: 1", NO_PLACE),
        ("split: {by: tract, size: 1}", "at: USDF, split: {by: tract, size: 1}", NO_PLACE),
        (", split: {by: tract, size: 1}", "", NO_PLACE),
        ("after: [look], ", "", NO_PLACE),
        (
            "{region: tract}",
            "{region: healpix3}",
            "the regions of this step's placement are its healpix3s, so no tract has a place (add "
            "placement: {region: tract} to the campaign)",
        ),
        (
            "{region: tract}",
            "{}",
            "the regions of this step's placement are not named, so no tract has a place (add "
            "placement: {region: tract} to the campaign)",
        ),
    ],
)
def test_regions_that_never_get_a_place(old: str, new: str, problem: str) -> None:
    assert old in WITHIN
    (told,) = complaints_after_head(WITHIN.replace(old, new, 1))
    assert told.split(": ", 2)[1:] == ["steps.visits.split.within", problem]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("by: tract, size: 1", "by: [tract, band]"),
        ("by: tract, size: 1", "by: tract, values: [1, 2]"),
        ("by: tract, size: 1", "splitter: healpix, order: 3"),
    ],
)
def test_steps_that_give_regions_a_place(old: str, new: str) -> None:
    text = WITHIN.replace(old, new, 1)
    if "band" in new:
        text = text.replace("band]", "band], size: 1")
    assert campaign(text).steps["visits"].split.params["within"] == "tract"


def test_a_step_with_only_scripts_makes_nothing() -> None:
    plan = campaign(
        """\
        defaults: {keep: {datasets: [object], at: USDF}, discard: [warp]}
        steps:
          check: {before: [{script: s}], then: [{script: t}], split: {by: tract, values: [1]}}
          visits: {after: [check], pipeline: p}
          bring: {after: [visits], at: USDF, gather: {datasets: [star]}}
          coadd: {after: [bring], pipeline: p}
        """
    )
    assert [job.name for job in plan.steps["check"].jobs] == ["before-1", "after-1"]
    assert [job.name for job in plan.steps["bring"].jobs][:1] == ["gather-register"]
    assert len(plan.steps["bring"].jobs) == 3
    assert plan.steps["visits"].inputs == ("HSC/defaults",)
    assert plan.steps["coadd"].inputs == ("u/pilot1/toy/visits", "HSC/defaults")


@pytest.mark.parametrize("key", ["scatter", "keep", "archive", "discard"])
def test_nothing_made_is_nothing_moved(key: str) -> None:
    value = {
        "scatter": "{datasets: [x]}",
        "keep": "{datasets: [x], at: USDF}",
        "archive": "{rse: TAPE}",
        "discard": "[x]",
    }[key]
    tail = f"steps:\n  a: {{before: [{{script: s}}], {key}: {value}}}\n"
    (told,) = complaints_after_head(tail)
    assert told.endswith(f"steps.a.{key}: '{key}' has no meaning without a pipeline")


def test_the_repository_must_be_where_it_is_asked_for() -> None:
    from dataclasses import replace

    from spec_cases import FULL, HEAD

    bare = replace(FULL.facilities["UKDF"], butlers={})
    known = replace(FULL, facilities={**FULL.facilities, "UKDF": bare})
    with pytest.raises(Exception, match="facility 'UKDF' has no Butler repository 'dp2'"):
        read(HEAD + "steps: {a: {pipeline: p, keep: {datasets: [x], at: UKDF}}}\n", known)
