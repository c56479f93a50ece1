"""What a driver is handed."""

import pytest
from spec_cases import campaign

from cmd_daemon.hooks.ports import JobOrder
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.spec import make_order

PLAN = campaign(
    """\
    where: instrument = 'HSC'
    steps:
      first: {pipeline: p}
      coadd:
        after: [first]
        pipeline: p.yaml#step3
        split: {by: tract, size: 1}
        resources: {memory: 4 GB, cores: 2, walltime: 2 h}
        before: [{script: warm.sh, timeout: 10 min}]
        then: [{script: done.sh}]
    """
)
POLICY = PLAN.steps["coadd"]
CHAIN = "u/pilot1/toy/coadd/9813"


def order(job: str, attempt: int = 1, **given: object) -> JobOrder:
    template = next(j for j in POLICY.jobs if j.name == job)
    arguments = {
        "campaign": "toy", "step": "coadd", "group": "9813", "policy": POLICY, "template": template,
        "attempt": attempt, "facility": "USDF", "share": {"name": "9813", "where": "tract = 9813"},
    } | given  # fmt: skip
    return make_order(**arguments)  # type: ignore[arg-type]


def test_a_process_order() -> None:
    assert order(
        "process", 3, former=[(1, "ref1"), (2, "ref2")], mode="missing-only", memory=7
    ) == (
        JobOrder(
            key="toy/coadd/9813/process#3",
            campaign="toy",
            step="coadd",
            group="9813",
            job="process",
            attempt=3,
            kind=JobKind.PROCESS,
            facility="USDF",
            params={"pipeline": "p.yaml#step3", "config": {}},
            share={"name": "9813", "where": "tract = 9813"},
            where="(instrument = 'HSC') AND (tract = 9813)",
            stack="w_2026_46",
            butler="dp2",
            inputs=("u/pilot1/toy/first", "HSC/defaults"),
            output_run=f"{CHAIN}/a3",
            output_chain=CHAIN,
            step_chain="u/pilot1/toy/coadd",
            former_runs=(f"{CHAIN}/a2", f"{CHAIN}/a1"),
            former_refs=("ref2", "ref1"),
            mode="missing-only",
            memory=7,
            cores=2,
            walltime_s=7200,
        )
    )


def test_the_first_attempt_takes_the_steps_memory_and_has_no_former_runs() -> None:
    first = order("process")
    assert (first.memory, first.former_runs, first.mode) == (4 * 10**9, (), "")
    assert first.output_run == f"{CHAIN}/a1"


def test_a_collect_order_chains_the_newest_good_run_first() -> None:
    collect = order("collect", runs=[f"{CHAIN}/a3", f"{CHAIN}/a1"], former=[(1, "x")])
    assert collect.params["chains"] == [
        {"name": CHAIN, "children": [f"{CHAIN}/a3", f"{CHAIN}/a1"]},
        {"name": "u/pilot1/toy/coadd", "children": [CHAIN], "mode": "prepend"},
        {"name": "u/pilot1/toy", "children": ["u/pilot1/toy/coadd"], "mode": "prepend"},
    ]
    assert collect.former_refs == ("x",)


def test_a_group_that_was_never_processed_cannot_be_collected() -> None:
    with pytest.raises(ValueError, match="group coadd/9813 has no run to collect"):
        order("collect")


def test_scripts_have_their_own_time_and_see_the_newest_run() -> None:
    before, after = order("before-1"), order("after-1", runs=[f"{CHAIN}/a2"])
    assert (before.walltime_s, before.output_run) == (600, "")
    assert (after.walltime_s, after.output_run) == (7200, f"{CHAIN}/a2")


def test_no_order_shares_its_parameters_with_the_policy() -> None:
    assert "chains" in order("collect", runs=["r"]).params
    assert all("chains" not in j.params for j in POLICY.jobs)
