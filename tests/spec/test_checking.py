"""Every sort of wrong campaign file, and the words people get for it."""

import pytest
from spec_cases import HEAD, SMALL, complaints, complaints_after_head, read

STEP = "steps: {a: {pipeline: p.yaml}}\n"

CASES: dict[str, tuple[str, list[str]]] = {
    "unknown step key": (
        "steps:\n  a:\n    pipelin: p.yaml\n",
        ["toy.yaml:8:5: steps.a.pipelin: unknown key (did you mean 'pipeline'?)"],
    ),
    "unknown top key": (
        STEP + "frobnicate: 1\n",
        ["toy.yaml:7:1: frobnicate: unknown key (keys here: campaign, owner, ticket, stack, butler, "
         "where, facilities, placement, parameters, defaults, steps)"],
    ),
    "key given twice": (
        "steps:\n  a: {pipeline: p.yaml}\n  a: {pipeline: q.yaml}\n",
        ["toy.yaml:8:3: steps.a: this key is given twice (first in line 7) (keep one of the two)"],
    ),
    "no steps": ("steps: {}\n", ["toy.yaml:6:8: steps: must not be empty"]),
    "steps missing": ("", ["toy.yaml:1:1: steps: this key is required"]),
    "step that does nothing": (
        "steps:\n  a:\n  b: {split: {by: tract, size: 1}}\n",
        ["toy.yaml:7:5: steps.a: must be a mapping of keys, not nothing",
         "toy.yaml:8:3: steps.b: this step does nothing (give it a pipeline, scripts under "
         "'before' or 'then', or a breakpoint)"],
    ),
    "wrong types": (
        "steps:\n  a:\n    pipeline: [p]\n    after: b\n    optional: yes\n"
        "    retry: {attempts: three, backoff: 5}\n    accept: {at_least: 98}\n"
        "    resources: {memory: 4 Gb, cores: 1.5, walltime: soon}\n",
        ["toy.yaml:8:15: steps.a.pipeline: must be text, not a list",
         "toy.yaml:9:12: steps.a.after: must be a list, not the text 'b' (write [ ] around it)",
         "toy.yaml:10:15: steps.a.optional: must be true or false, not the text 'yes'",
         "toy.yaml:11:23: steps.a.retry.attempts: must be a whole number, not the text 'three'",
         "toy.yaml:11:39: steps.a.retry.backoff: needs a unit, the number 5 has none "
         "(numbers need a unit, for example 5 min)",
         "toy.yaml:12:24: steps.a.accept.at_least: must be at most 1, not 98",
         "toy.yaml:13:25: steps.a.resources.memory: '4 Gb' is wrong: unknown unit 'Gb' of memory; "
         "write a number and a unit: 500 MB, 32 GB or 4 GiB",
         "toy.yaml:13:38: steps.a.resources.cores: must be a whole number, not the number 1.5",
         "toy.yaml:13:53: steps.a.resources.walltime: 'soon' is wrong: not a duration; "
         "write a number and a unit: 90 s, 5 min, 2 h or 1 d"],
    ),
    "shape and meaning at once": (
        "steps:\n  a: {pipeline: p.yaml, retries: 3}\n  coadd: {after: [aa], pipeline: p.yaml}\n",
        ["toy.yaml:7:25: steps.a.retries: unknown key (did you mean 'retry'?)",
         "toy.yaml:8:19: steps.coadd.after[0]: there is no step 'aa' (did you mean 'a'?)"],
    ),
    "unknown step": (
        "steps:\n  coadd: {pipeline: p.yaml}\n  z: {pipeline: p.yaml, after: [coad]}\n",
        ["toy.yaml:8:33: steps.z.after[0]: there is no step 'coad' (did you mean 'coadd'?)"],
    ),
    "itself and twice": (
        "steps:\n  a: {pipeline: p.yaml, after: [a]}\n  b: {pipeline: p.yaml, after: [a, a]}\n",
        ["toy.yaml:7:33: steps.a.after[0]: a step cannot come after itself",
         "toy.yaml:8:36: steps.b.after[1]: 'a' is given twice"],
    ),
    "cycle": (
        "steps:\n  a: {pipeline: p, after: [c]}\n  b: {pipeline: p, after: [a]}\n"
        "  c: {pipeline: p, after: [b]}\n",
        ["toy.yaml:7:27: steps.a.after: these steps wait for each other: a after c after b after a "
         "(take one of them out of an 'after')"],
    ),
    "bad step name": (
        "steps:\n  a/b: {pipeline: p.yaml}\n",
        ["toy.yaml:7:3: steps.a/b: a name is made of letters, digits, '.', '_' and '-', beginning "
         "with a letter or digit"],
    ),
    "placement": (
        STEP + "placement:\n  algorithm: balance\n  shares: {USDF: 0.5, FrDF: 0.4, UKDF: 0.2}\n"
        "  pins: {Usdf: 'tract IN (1'}\n",
        ["toy.yaml:8:14: placement.algorithm: there is no algorithm 'balance' "
         "(did you mean 'balanced'?)",
         "toy.yaml:9:11: placement.shares: the shares add up to 1.1, not to 1",
         "toy.yaml:9:34: placement.shares.UKDF: 'UKDF' is not one of this campaign's facilities "
         "(did you mean 'USDF'?)",
         "toy.yaml:10:10: placement.pins.Usdf: 'Usdf' is not one of this campaign's facilities "
         "(did you mean 'USDF'?)",
         "toy.yaml:10:16: placement.pins.Usdf: a '(' is not closed"],
    ),
    "shares needed": (
        STEP + "placement: {algorithm: share}\n",
        ["toy.yaml:7:24: placement.algorithm: the algorithm 'share' needs the shares "
         "(add shares: {FACILITY: 0.5, ...})"],
    ),
    "at": (
        "steps:\n  a: {pipeline: p.yaml, at: UKDF}\n  b: {pipeline: p.yaml, gather: {datasets: [x]}}\n",
        ["toy.yaml:7:29: steps.a.at: 'UKDF' is not one of this campaign's facilities "
         "(did you mean 'USDF'?)",
         "toy.yaml:8:25: steps.b.gather: a step that gathers must say where (add at: FACILITY to the "
         "step)"],
    ),
    "splits": (
        "steps:\n  a: {pipeline: p, split: {by: tract}}\n  b: {pipeline: p, split: {size: 3}}\n"
        "  c: {pipeline: p, split: {splitter: healpx}}\n"
        "  d: {pipeline: p, split: {by: visit, size: 3, sorted: 1}}\n"
        "  e: {pipeline: p, split: {by: visit, siz: 3}}\n",
        ["toy.yaml:7:20: steps.a.split: says what to split by but not how "
         "(add one of values, ranges, size, count, max_quanta, within)",
         "toy.yaml:8:27: steps.b.split.by: this key is required (for example by: tract)",
         "toy.yaml:9:38: steps.c.split.splitter: there is no splitter 'healpx' in this daemon "
         "(did you mean 'healpix'?)",
         "toy.yaml:10:56: steps.d.split.sorted: is not a key of splitter 'query'",
         "toy.yaml:11:44: steps.e.split.siz: unknown key (did you mean 'size'?)"],
    ),
    "resources": (
        "steps:\n  a: {pipeline: p, resources: {memory: 2 TB, cores: 60}}\n"
        "  b: {pipeline: p, resources: {memory: 8 GB}, retry: {memory: {max: 4 GB}}}\n",
        ["toy.yaml:7:20: steps.a.resources: no facility of this step can run a job of 2 TB, 60 cores "
         "(USDF has 600 GB, 64 cores; FrDF has 600 GB, 64 cores)",
         "toy.yaml:8:69: steps.b.retry.memory.max: 4 GB is less than the 8 GB of the first attempt"],
    ),
    "error rules": (
        "steps:\n  a:\n    pipeline: p\n    errors:\n"
        "      - {message: '(a+)+', action: retry}\n      - {message: '(', action: hold}\n"
        "      - {exit: 1, action: acept}\n      - {exit: x, action: hold, up_to: 0.5}\n"
        "  b:\n    pipeline: p\n    errors:\n      - {exit: 1, action: hold, up_to: 0.5}\n",
        ["toy.yaml:12:27: steps.a.errors[2].action: must be one of retry, accept, hold, fail, not "
         "the text 'acept' (did you mean 'accept'?)",
         "toy.yaml:13:16: steps.a.errors[3].exit: must be a whole number, not the text 'x'",
         "toy.yaml:17:33: steps.b.errors[0].up_to: 'up_to' goes with 'action: accept' only"],
    ),
    "regular expressions": (
        "steps:\n  a:\n    pipeline: p\n    errors:\n"
        "      - {message: '(a+)+', action: retry}\n      - {message: '(', action: hold}\n",
        ["toy.yaml:10:19: steps.a.errors[0].message: has a repeat inside a repeat, such as (a+)+, "
         "and could take for ever",
         "toy.yaml:11:19: steps.a.errors[1].message: not a regular expression: missing ), "
         "unterminated subpattern at character 1"],
    ),
    "defaults are blamed once": (
        "defaults:\n  errors: [{message: '[', action: hold}]\n"
        "steps: {a: {pipeline: p}, b: {pipeline: p}}\n",
        ["toy.yaml:7:22: defaults.errors[0].message: not a regular expression: unterminated "
         "character set at character 1"],
    ),
    "not in defaults": (
        "defaults: {after: [a], breakpoint: look}\n" + STEP,
        ["toy.yaml:6:12: defaults.after: 'after' cannot be a default (write it in each step)",
         "toy.yaml:6:24: defaults.breakpoint: 'breakpoint' cannot be a default "
         "(write it in each step)"],
    ),
    "breakpoint with work": (
        "steps:\n  a: {breakpoint: look, pipeline: p}\n",
        ["toy.yaml:7:25: steps.a.pipeline: a breakpoint only waits for a signature, 'pipeline' has no "
         "meaning in it (make the breakpoint a step of its own, after this one)"],
    ),
    "pipeline's keys": (
        "steps:\n  a: {pipeline: 'p#', driver: pandas, config: {x: 1, 't:f': {a: 1}}, "
        "params: {pipeline: q}}\n  b: {then: [{script: s, args: [[1]]}], driver: panda}\n",
        ["toy.yaml:7:17: steps.a.pipeline: a pipeline is written FILE or FILE#SUBSET",
         "toy.yaml:7:31: steps.a.driver: there is no driver 'pandas' (did you mean 'panda'?)",
         "toy.yaml:7:48: steps.a.config.x: a configuration key is written task:field",
         "toy.yaml:7:61: steps.a.config.t:f: must be text, a number, true, false or a list",
         "toy.yaml:7:79: steps.a.params.pipeline: 'pipeline' is not a free parameter "
         "(use the step's 'pipeline')",
         "toy.yaml:8:33: steps.b.then[0].args[0]: must be text, a number, true or false",
         "toy.yaml:8:41: steps.b.driver: 'driver' has no meaning without a pipeline"],
    ),
    "datasets and keep": (
        "steps:\n  a: {pipeline: p, keep: {datasets: ['a b'], at: USFD}, discard: []}\n",
        ["toy.yaml:7:38: steps.a.keep.datasets[0]: 'a b' is no dataset type's name",
         "toy.yaml:7:50: steps.a.keep.at: there is no facility 'USFD' (did you mean 'USDF'?)",
         "toy.yaml:7:66: steps.a.discard: must not be empty"],
    ),
    "existing inputs": (
        "steps:\n  a: {pipeline: p, stage: {datasets: [raw], existing: {raws: 'raw:x'}}}\n",
        ["toy.yaml:7:56: steps.a.stage.existing.raws: 'raws' is none of the stage's dataset types "
         "(add it to 'datasets', which has raw)"],
    ),
    "parameters": (
        "parameters:\n  TRACT:\n  TRACTS: [1, 2]\n  bad-name: 1\n  M: {a: 1}\n"
        "where: skymap = '${SKYMAP}' AND tract = ${TRACT}\n"
        "steps: {a: {pipeline: 'p${TRACTS}${TRCTS}${}${x'}}\n",
        ["toy.yaml:7:3: parameters.TRACT: parameter 'TRACT' has no value "
         "(give it with --set TRACT=VALUE)",
         "toy.yaml:9:3: parameters.bad-name: 'bad-name' is no name for a parameter "
         "(letters, digits and '_', not beginning with a digit)",
         "toy.yaml:10:6: parameters.M: a parameter's default is text, a number or a list, not a "
         "mapping",
         "toy.yaml:11:8: where: parameter 'SKYMAP' has no value (give it with --set SKYMAP=VALUE or "
         "under 'parameters'; a variable of the facility is written $SKYMAP)",
         "toy.yaml:12:23: steps.a.pipeline: parameter 'TRACTS' is a list; inside a text only text "
         "and numbers can stand",
         "toy.yaml:12:23: steps.a.pipeline: parameter 'TRCTS' has no value (did you mean "
         "'TRACTS'?)",
         "toy.yaml:12:23: steps.a.pipeline: '${}' is no parameter (write ${NAME}, or $${ for the "
         "characters themselves)",
         "toy.yaml:12:23: steps.a.pipeline: '${x' is not closed (write ${NAME}, or $${ for the "
         "characters themselves)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_people_are_told(case: str) -> None:
    tail, expected = CASES[case]
    assert complaints_after_head(tail) == expected


def test_the_head() -> None:
    assert complaints(
        "campaign: a b\nowner:\nstack: [w]\n"
        "butler: {repo: dp3, inputs: ['x y', c, c], output: /u/}\n"
        "facilities: [USDF, UFDF, USDF]\nwhere: (a = 1\n" + STEP
    ) == [
        "toy.yaml:1:11: campaign: a name is made of letters, digits, '.', '_' and '-', beginning "
        "with a letter or digit",
        "toy.yaml:2:7: owner: must be text, not nothing",
        "toy.yaml:3:8: stack: must be text, not a list",
        "toy.yaml:4:16: butler.repo: Butler repository 'dp3' is not at USDF (did you mean 'dp2'?)",
        "toy.yaml:4:30: butler.inputs[0]: a collection's name is made of letters, digits and any of "
        "_ . + : @ # -, in parts joined by '/'",
        "toy.yaml:4:40: butler.inputs[2]: 'c' is given twice",
        "toy.yaml:4:52: butler.output: a collection's name is made of letters, digits and any of "
        "_ . + : @ # -, in parts joined by '/'",
        "toy.yaml:5:20: facilities[1]: there is no facility 'UFDF' (did you mean 'USDF'?)",
        "toy.yaml:5:26: facilities[2]: 'USDF' is given twice",
        "toy.yaml:6:8: where: a '(' is not closed",
    ]


def test_required_keys_are_all_named() -> None:
    assert complaints("steps: {}\n") == [
        "toy.yaml:1:1: butler: this key is required",
        "toy.yaml:1:1: campaign: this key is required",
        "toy.yaml:1:1: facilities: this key is required",
        "toy.yaml:1:1: owner: this key is required",
        "toy.yaml:1:1: stack: this key is required",
        "toy.yaml:1:8: steps: must not be empty",
    ]


def test_a_stack_that_is_not_there() -> None:
    assert complaints(HEAD.replace("w_2026_46", "w_2026_64") + STEP) == [
        "toy.yaml:3:8: stack: stack 'w_2026_64' is not at USDF and FrDF (did you mean 'w_2026_46'?)"
    ]


def test_what_this_daemon_cannot_do_is_said_before_anything_is_stored() -> None:
    head = HEAD.replace("[USDF, FrDF]", "[LOCAL]")
    tail = (
        "steps:\n  a:\n    pipeline: p\n    keep: {datasets: [x], at: LOCAL}\n"
        "    archive: {rse: TAPE, bundle: zip}\n    discard: [warp]\n"
        "  b: {pipeline: p, at: LOCAL, gather: {datasets: [x]}, scatter: {datasets: [y]}}\n"
    )
    missing = "not available in this daemon: no driver for"
    hint = "(a plugin that serves them must be installed and enabled)"
    moves = f"{missing} 'register', 'transfer' and 'ingest' jobs {hint}"
    assert complaints(head + tail, SMALL) == [
        f"toy.yaml:9:5: steps.a.keep: {moves}",
        f"toy.yaml:10:5: steps.a.archive: {missing} 'bundle', 'register' and 'transfer' jobs {hint}",
        f"toy.yaml:11:5: steps.a.discard: {missing} 'purge' jobs {hint}",
        f"toy.yaml:12:31: steps.b.gather: {moves}",
        f"toy.yaml:12:56: steps.b.scatter: {moves}",
    ]


def test_set_of_a_parameter_the_file_does_not_have() -> None:
    tail = "parameters: {WEEK: 46}\nsteps: {a: {pipeline: 'p_${WEEK}'}}\n"
    assert complaints_after_head(tail, WEKE="47", **{"a b": "1"}) == [
        "toy.yaml:6:13: parameters: 'a b' is no name for a parameter (letters, digits and '_', not "
        "beginning with a digit)",
        "toy.yaml:6:13: parameters: parameter 'WEKE' was set but the file has no such parameter "
        "(did you mean 'WEEK'?)",
    ]


def test_an_unknown_value_is_complained_of_once() -> None:
    text = HEAD.replace("campaign: toy", "campaign: toy_${N}").replace("u/pilot1/toy", "'u/${N}'")
    assert complaints(text + "parameters: {N: }\n" + STEP) == [
        "toy.yaml:6:14: parameters.N: parameter 'N' has no value (give it with --set N=VALUE)"
    ]


def test_a_splitter_that_raises_is_the_plugins_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from spec_cases import SPLITTERS

    def broken(params: object) -> list[str]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(SPLITTERS["healpix"], "check", broken)
    assert complaints_after_head("steps: {a: {pipeline: p, split: {splitter: healpix}}}\n") == [
        "toy.yaml:6:26: steps.a.split: splitter 'healpix' failed to check this: "
        "ZeroDivisionError('oh') (this is a fault of the plugin)"
    ]


def test_a_hundred_problems_are_enough() -> None:
    said = complaints_after_head(STEP + "".join(f"x{i}: 1\n" for i in range(20_000)))
    assert len(said) == 100
    assert said[-1] == "toy.yaml:106:1: x99: and more problems; these are the first 99"


def test_parameters_cannot_blow_up_a_file() -> None:
    tail = "steps:\n" + "".join(f"  a{i}: {{pipeline: '{'${P}' * 100}'}}\n" for i in range(100))
    (said,) = complaints_after_head(tail, P="x" * 5000)
    assert said.endswith("the file grows too long when its parameters are put in")


def test_a_large_file_that_shares_everything_is_not_multiplied() -> None:
    values = ", ".join(map(str, range(50_000)))
    rules = ", ".join(f"{{message: 'm{i}', action: hold}}" for i in range(200))
    names = [f"s{i}" for i in range(500)]
    steps = "".join(
        f"  {n}: {{after: [{', '.join(names[max(0, i - 50) : i])}]}}\n" for i, n in enumerate(names)
    )
    tail = (
        f"defaults: {{pipeline: p, split: {{by: x, values: [{values}]}}, errors: [{rules}]}}\n"
        f"steps:\n{steps}"
    )
    plan = read(HEAD + tail)
    assert len({id(p.split) for p in plan.steps.values()}) == 1
