"""From the file to the policies that the kernel decides by."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from spec_cases import FULL, GB, HEAD, ROOT, SMALL, campaign, read

from cmd_daemon.kernel.policy import (
    ErrorRule,
    JobTemplate,
    Resources,
    RetryPolicy,
    RuleAction,
    SplitPlan,
)
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec.naming import step_chain

STEP = "steps: {a: {pipeline: p.yaml}}\n"


def test_the_least_campaign() -> None:
    plan = read(HEAD + STEP)
    assert (plan.name, plan.owner, plan.ticket, plan.stack) == ("toy", "pilot1", None, "w_2026_46")
    assert (plan.butler, plan.output) == ("dp2", "u/pilot1/toy")
    assert plan.facilities == ("USDF", "FrDF")
    assert plan.text == HEAD + STEP
    policy = plan.steps["a"]
    assert policy.split == SplitPlan("none", {})
    assert policy.retry == RetryPolicy()
    assert policy.resources == Resources()
    assert policy.at_least == 1.0
    assert (policy.placement.algorithm, policy.placement.facilities) == (
        "balanced",
        ("USDF", "FrDF"),
    )
    assert (policy.inputs, policy.output) == (("HSC/defaults",), "u/pilot1/toy/a")
    assert [(j.name, j.kind) for j in policy.jobs] == [
        ("process", JobKind.PROCESS),
        ("collect", JobKind.COLLECT),
    ]
    assert policy.jobs[0].params == {"pipeline": "p.yaml", "config": {}}


def test_resources_nobody_asked_for_fit_every_facility() -> None:
    tiny = replace(FULL.facilities["FrDF"], memory=GB, walltime_s=600)
    known = replace(FULL, facilities={**FULL.facilities, "FrDF": tiny})
    tail = "steps: {a: {pipeline: p}, b: {pipeline: p, at: USDF}}\n"
    plan = read(HEAD + tail, known)
    assert plan.steps["a"].resources == Resources(GB, 1, 600)
    assert plan.steps["b"].resources == Resources()


def test_one_facility_pins_everything() -> None:
    plan = read(HEAD.replace("[USDF, FrDF]", "[LOCAL]") + STEP, SMALL)
    assert plan.steps["a"].placement.algorithm == "pinned"


def _moved(job: JobTemplate) -> dict[str, Any]:
    """A movement job's parameters without the campaign's facilities."""
    return {name: value for name, value in job.params.items() if name != "facilities"}


def test_every_key_of_a_step() -> None:
    plan = campaign(
        """\
        where: instrument = 'HSC'
        placement: {algorithm: share, region: tract, shares: {USDF: 0.4, FrDF: 0.6}, pins: {FrDF: tract = 1}}
        steps:
          a:
            pipeline: p.yaml#x
            config: {"isr:doFlat": false, "t:list": [1, 2]}
            params: {queue: fast}
            driver: panda
            split: {by: visit, ranges: ["1..9"], size: 3}
            where: band = 'r' OR band = 'i'
            at: USDF
            optional: true
            stage: {datasets: [raw]}
            gather: {datasets: [star], by: tract}
            scatter: {datasets: [zp], by: visit}
            resources: {memory: 4 GiB, cores: 2, walltime: 3 h, processes: 8}
            retry: {attempts: 5, backoff: 10 s, backoff_max: 1 min, memory: {max: 32 GB}}
            accept: {at_least: 0.9}
            errors: [{task: "isr*", message: No flat, exit: 3, action: accept, up_to: 0.1}, {action: hold}]
            before: [{script: warm.sh, args: ["{group}", 3, true], env: {A: 1.5}, timeout: 1 min}]
            then: [{script: done.sh}]
            keep: {datasets: [object], at: UKDF}
            archive: {rse: TAPE, bundle: zip}
            discard: [warp]
        """
    )
    policy = plan.steps["a"]
    assert [j.name for j in policy.jobs] == [
        "stage-register", "stage-transfer", "stage-ingest",
        "gather-register", "gather-transfer", "gather-ingest", "before-1", "process", "collect",
        "scatter-register", "scatter-transfer", "scatter-ingest",
        "keep-register", "keep-transfer", "keep-ingest",
        "archive-bundle", "archive-register", "archive-transfer", "after-1", "purge",
    ]  # fmt: skip
    jobs = {j.name: j for j in policy.jobs}
    assert jobs["process"].params == {
        "queue": "fast",
        "pipeline": "p.yaml#x",
        "config": {"isr:doFlat": False, "t:list": [1, 2]},
        "processes": 8,
    }
    assert jobs["process"].driver == "panda"
    assert jobs["before-1"].params == {
        "script": "warm.sh",
        "args": ["{group}", "3", "true"],
        "env": {"A": "1.5"},
    }
    assert jobs["before-1"].timeout_s == 60
    assert _moved(jobs["gather-transfer"]) == {
        "datasets": ["star"], "by": "tract", "at": "USDF", "collections": []
    }  # fmt: skip
    assert _moved(jobs["keep-transfer"]) == {"datasets": ["object"], "at": "UKDF"}
    assert _moved(jobs["archive-bundle"]) == {
        "rse": "TAPE", "bundle": "zip", "without": ["warp"]
    }  # fmt: skip
    assert jobs["purge"].params == {"datasets": ["warp"], "closed": ["keep", "archive"]}
    assert policy.where == "(instrument = 'HSC') AND (band = 'r' OR band = 'i')"
    assert policy.split == SplitPlan("values", {"by": "visit", "ranges": ["1..9"], "size": 3})
    assert policy.resources == Resources(memory=4 * 2**30, cores=2, walltime_s=10_800)
    assert policy.retry == RetryPolicy(5, 10, 60, 2.0, 32 * GB)
    assert policy.at_least == 0.9
    assert policy.errors == (
        ErrorRule(RuleAction.ACCEPT, "isr*", "No flat", 3, 0.1),
        ErrorRule(RuleAction.HOLD),
    )
    assert policy.optional
    placement = policy.placement
    assert (placement.at, placement.region) == ("USDF", "tract")
    assert placement.shares == {"USDF": 0.4, "FrDF": 0.6}
    assert placement.pins == {"FrDF": "tract = 1"}


def test_defaults_are_merged_and_a_steps_own_key_wins() -> None:
    plan = campaign(
        """\
        defaults:
          pipeline: p.yaml
          retry: {attempts: 5, backoff: 5 min, memory: {factor: 3, max: 64 GB}}
          errors: [{exit: 1, action: retry}]
          split: {by: visit, size: 3}
          config: {"a:x": 1, "a:y": 2}
        steps:
          own:
            retry: {attempts: 2, memory: {factor: 2}}
            errors: []
            split: {by: tract, values: [1]}
            config: {"a:y": 3}
          same: {}
          one-group: {split: null}
          look: {after: [same], breakpoint: look}
        """
    )
    own, same = plan.steps["own"], plan.steps["same"]
    assert own.retry == RetryPolicy(2, 300, 3600, 2.0, 64 * GB)
    assert same.retry == RetryPolicy(5, 300, 3600, 3.0, 64 * GB)
    assert own.errors == ()
    assert len(same.errors) == 1
    assert own.split == SplitPlan("values", {"by": "tract", "values": [1]})
    assert plan.steps["one-group"].split == SplitPlan()
    assert own.jobs[0].params["config"] == {"a:x": 1, "a:y": 3}
    assert plan.steps["look"].jobs == ()
    assert plan.steps["look"].breakpoint == "look"


def test_steps_come_after_those_they_name_and_read_the_nearest_first() -> None:
    plan = campaign(
        """\
        steps:
          last: {pipeline: p, after: [look, b]}
          look: {breakpoint: look, after: [b, c]}
          c: {pipeline: p, after: [a]}
          b: {pipeline: p, after: [a, c]}
          a: {pipeline: p}
          side: {before: [{script: s}], after: [a]}
        """
    )
    assert list(plan.steps) == ["a", "c", "b", "look", "last", "side"]
    chains = [step_chain(plan.output, s) for s in ("b", "c", "a")]
    assert plan.steps["last"].inputs == (*chains, "HSC/defaults")
    assert plan.steps["side"].inputs == (chains[2], "HSC/defaults")


def test_the_nearest_is_counted_by_the_longest_way() -> None:
    plan = campaign(
        """\
        steps:
          side: {pipeline: p}
          a: {pipeline: p}
          b: {pipeline: p, after: [a]}
          last: {pipeline: p, after: [a, b, side]}
        """
    )
    chains = [step_chain(plan.output, s) for s in ("b", "side", "a")]
    assert plan.steps["last"].inputs == (*chains, "HSC/defaults")


def test_parameters() -> None:
    tail = """\
        parameters: {WEEK: 46, TRACTS: [1, 2], SIZE: null, OLD: "007", UNUSED: x}
        steps:
          a:
            pipeline: $DRP_PIPE_DIR/p_${WEEK}.yaml#$${x}
            split: {by: tract, values: "${TRACTS}", size: "${SIZE}"}
            where: tract > ${OLD}
            breakpoint:
          b: {pipeline: "${WEEK}", split: {by: visit, count: "${N}"}}
    """
    plan = campaign(tail, SIZE="3", N="5", WEEK="047")
    a, b = plan.steps["a"], plan.steps["b"]
    assert a.jobs[0].params["pipeline"] == "$DRP_PIPE_DIR/p_047.yaml#${x}"
    assert a.split.params == {"by": "tract", "values": [1, 2], "size": 3}
    assert a.where == "tract > 007"
    assert b.jobs[0].params["pipeline"] == "047"
    assert b.split.params == {"by": "visit", "count": 5}
    assert plan.parameters == {
        "N": "5", "OLD": "007", "SIZE": "3", "TRACTS": "[1, 2]", "UNUSED": "x", "WEEK": "047"
    }  # fmt: skip
    assert [str(w) for w in plan.warnings] == [
        "toy.yaml:6:64: parameters.UNUSED: parameter 'UNUSED' is not used "
        "(remove it, or use it as ${UNUSED})"
    ]


def test_parameters_are_not_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEEK", "99")
    plan = campaign("parameters: {WEEK: 46}\nsteps: {a: {pipeline: 'p${WEEK}'}}\n")
    assert plan.steps["a"].jobs[0].params["pipeline"] == "p46"


def test_a_value_that_looks_like_a_parameter_is_not_put_in_again() -> None:
    plan = campaign("steps: {a: {pipeline: 'p${A}'}}\n", A="${B}")
    assert plan.steps["a"].jobs[0].params["pipeline"] == "p${B}"


def test_numbers_are_taken_as_written_where_text_is_wanted() -> None:
    plan = read(HEAD.replace("toy\n", "2026\n", 1) + "ticket: 1.10\n" + STEP)
    assert (plan.name, plan.ticket) == ("2026", "1.10")


def test_the_digest_is_that_of_the_meaning() -> None:
    one = read(HEAD + "# a comment\n" + STEP)
    assert one.digest == read(HEAD + "steps:\n  a:\n    pipeline: 'p.yaml'\n").digest
    assert one.digest != read(HEAD + STEP.replace("p.yaml", "q.yaml")).digest
    tail = "parameters: {P: p}\nsteps: {a: {pipeline: '${P}.yaml'}}\n"
    assert read(HEAD + tail, P="q").digest == read(HEAD + tail.replace("P: p", "P: q")).digest
    assert len(one.digest) == 64


def test_bytes_and_text_are_the_same() -> None:
    text = HEAD + STEP
    assert read(b"\xef\xbb\xbf" + text.encode()) == read(text)


def test_warnings() -> None:
    plan = campaign(
        """\
        steps:
          a:
            pipeline: p
            resources: {memory: 8 GB}
            retry: {memory: {max: 9 TB}}
            errors: [{action: hold}, {exit: 1, action: retry}]
        """
    )
    assert [str(w) for w in plan.warnings] == [
        "toy.yaml:10:27: steps.a.retry.memory.max: no facility of this step has that much memory "
        "(attempts that ask for more than a facility has will be held)",
        "toy.yaml:11:30: steps.a.errors[1]: this rule is never reached, the one before matches "
        "everything (put it first)",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_are_good(path: Path) -> None:
    plan = read(path.read_text(), WEEK="46")
    assert plan.warnings == ()
    assert plan.name == "DRP-RC2-w_2026_46"


def test_ten_thousand_values() -> None:
    values = list(range(10_000))
    plan = read(HEAD + f"steps: {{a: {{pipeline: p, split: {{by: tract, values: {values}}}}}}}\n")
    assert plan.steps["a"].split.params["values"] == values
