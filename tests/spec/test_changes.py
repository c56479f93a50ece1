"""Two versions of a file: what differs, and what may not."""

import pytest
from spec_cases import HEAD, campaign, read

from cmd_daemon.spec import changes

OLD = """\
placement: {algorithm: balanced}
steps:
  a: {pipeline: p, split: {by: tract, values: [1, 2]}, before: [{script: s, args: [x]}]}
  b: {pipeline: p, after: [a]}
  c: {pipeline: p}
"""
BEGUN = {"a": frozenset({"1", "2"})}
REMEDY = "(put the change in a new step, or apply the file under a new name)"
NEW_NAME = "(finish or cancel this campaign and apply the file under a new name)"


def test_nothing_changed() -> None:
    assert changes(campaign(OLD), read(HEAD + "# hello\n" + OLD), BEGUN) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("c: {", "c: {retry: {attempts: 5}, ", "steps.c.retry.attempts: 3 -> 5"),
        ("a: {", "a: {retry: {backoff: 5 min}, ", "steps.a.retry.backoff: 1 min -> 5 min"),
        ("a: {", "a: {accept: {at_least: 0.5}, ", "steps.a.accept.at_least: 1 -> 0.5"),
        ("a: {", "a: {resources: {memory: 8 GB}, ", "steps.a.resources.memory: 2 GiB -> 8 GB"),
        (
            "a: {",
            "a: {errors: [{exit: 1, action: accept, up_to: 0.1}], ",
            "steps.a.errors: (nothing) -> exit: 1 -> accept up to 0.1",
        ),
        ("a: {", "a: {config: {'x:y': 1}, ", "steps.a.config: (nothing) -> x:y: 1"),
        ("[x]", "[z]", "steps.a.before[0]: script: s, args: [x], env: {} -> "
                       "script: s, args: [z], env: {}"),
        ("c: {", "c: {split: {by: visit, size: 3}, ",
         "steps.c.split: splitter: none -> splitter: query, by: visit, size: 3"),
        ("  c: {pipeline: p}", "  c: {pipeline: q}", "steps.c.pipeline: p -> q"),
        ("  c: {pipeline: p}\n", "", "steps.c: a step -> (nothing)"),
        ("  c: {pipeline: p}\n", "  c: {pipeline: p}\n  d: {pipeline: p, after: [a]}\n",
         "steps.d: (nothing) -> a new step"),
        ("balanced", "locality", "placement.algorithm: balanced -> locality"),
        ("after: [a]", "after: []", "steps.b.after: a -> (nothing)"),
    ],
)  # fmt: skip
def test_what_may_change(old: str, new: str, change: str) -> None:
    assert old in OLD
    found, refused = changes(campaign(OLD), campaign(OLD.replace(old, new, 1)), BEGUN)
    assert [str(c) for c in found] == [change]
    assert refused == ()


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("[1, 2]", "[1, 3]", "toy.yaml:8:20: steps.a.split: cannot change any more, step 'a' has 2 "
         f"groups already: its groups exist already {REMEDY}"),
        ("a: {", "a: {where: x = 1, ", "toy.yaml:8:7: steps.a.where: cannot change any more, step "
         f"'a' has 2 groups already: its groups exist already {REMEDY}"),
        ("a: {pipeline: p", "a: {pipeline: q", "toy.yaml:8:7: steps.a.pipeline: cannot change any "
         "more, step 'a' has 2 groups already: its groups would be made by two pipelines "
         f"{REMEDY}"),
        (", before: [{script: s, args: [x]}]", "", "toy.yaml:8:3: steps.a.before[0]: cannot change "
         f"any more, step 'a' has 2 groups already: its groups have their jobs already {REMEDY}"),
        ("a: {", "a: {discard: [w], ", "toy.yaml:8:7: steps.a.discard: cannot change any more, step "
         f"'a' has 2 groups already: its groups have their jobs already {REMEDY}"),
        ("a: {", "a: {after: [c], ", "toy.yaml:8:7: steps.a.after: cannot change any more, step 'a' "
         f"has 2 groups already: it has begun and cannot wait for c any more {REMEDY}"),
        ("  a: {", "  aa: {", "toy.yaml:7:1: steps.a: step 'a' cannot be removed: it has 2 groups already "
         "(did you mean 'aa'?)"),
    ],
)  # fmt: skip
def test_what_cannot_change_any_more(old: str, new: str, refusal: str) -> None:
    assert old in OLD
    text = OLD.replace(old, new, 1)
    if "aa:" in text:
        text = text.replace("[a]", "[aa]")
    before, now = campaign(OLD), campaign(text)
    found, refused = changes(before, now, BEGUN)
    assert found
    assert [str(p) for p in refused] == [refusal]
    assert changes(before, now, {})[1] == ()


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("w_2026_46", "w_2026_47", "toy.yaml:3:1: stack: cannot change from 'w_2026_46' to 'w_2026_47': "
         f"the campaign has begun to run {NEW_NAME}"),
        ("u/pilot1/toy", "u/pilot1/new", "toy.yaml:4:45: butler.output: cannot change from 'u/pilot1/toy' "
         f"to 'u/pilot1/new': the campaign has begun to run {NEW_NAME}"),
        ("HSC/defaults", "HSC/other", "toy.yaml:4:21: butler.inputs: cannot change from 'HSC/defaults' "
         f"to 'HSC/other': the campaign has begun to run {NEW_NAME}"),
    ],
)  # fmt: skip
def test_the_head_of_a_campaign_that_runs(old: str, new: str, refusal: str) -> None:
    from dataclasses import replace

    from spec_cases import FULL

    facilities = {
        n: replace(f, stacks={**f.stacks, "w_2026_47": "/other"})
        for n, f in FULL.facilities.items()
    }
    known = replace(FULL, facilities=facilities)
    before, now = read(HEAD + OLD, known), read((HEAD + OLD).replace(old, new), known)
    found, refused = changes(before, now, BEGUN)
    assert [c.field for c in found] == [refusal.split(": ")[1]]
    assert [str(p) for p in refused] == [refusal]
    assert changes(before, now, {})[1] == ()


def test_the_name_never_changes() -> None:
    found, refused = changes(campaign(OLD), read(HEAD.replace("toy", "joy", 1) + OLD), {})
    assert [c.field for c in found] == ["campaign"]
    assert [str(p) for p in refused] == [
        "toy.yaml:1:1: campaign: the name cannot change from 'toy' to 'joy' "
        "(apply it as a campaign of its own)"
    ]
