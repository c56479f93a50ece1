"""Process jobs over ssh: the contract and the faults, with a runner that obeys the test.

The real runner in the real stack is tried in test_ssh_rubin.py.
"""

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from far_machine import FarMachine, script_order
from far_stack import process_order
from test_ssh_contract import TestSshDriverContract as OverSsh

from cmd_daemon.hooks import (
    Absent,
    ErrorClass,
    JobOrder,
    JobRef,
    Outcome,
    Phase,
    Refused,
)
from cmd_daemon.testing import facility_info
from cmd_daemon.testing.driver_contract import outcomes, submitted, wait_until
from cmd_housekeeping import far_orders
from cmd_housekeeping.naming import ref_of
from cmd_housekeeping.ssh_driver import SshDriver, SshFactory

DEADLINE_S = 30.0
GOOD = {"expected": 4, "successful": 4, "failed": 0, "blocked": 0, "unknown": 0, "wonky": 0}
WELL = {"ok": True, "phase": "done", "quanta": {"isr": GOOD}, "graph": {"n_quanta": 4}}
OBEYING = """
import json, os, sys, time
order = json.load(open(sys.argv[1]))
plan = order["config"]
print("runner of", order["key"], flush=True)
if "progress" in plan:
    json.dump(plan["progress"], open("progress.json", "w"))
if "bytes" in plan:
    held = bytearray(plan["bytes"])
time.sleep(plan.get("sleep", 0))
if "outcome" in plan:
    json.dump(plan["outcome"], open("outcome.json", "w"))
sys.exit(plan.get("exit", 0))
"""


@pytest.fixture(autouse=True)
def obeying(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that does what the order's `config` says travels in the real one's place."""
    program = {far_orders.RUNNER: OBEYING.encode()}
    monkeypatch.setattr("cmd_housekeeping.ssh_driver.runner_program", lambda: program)


def driver_of(far: FarMachine, python: str = sys.executable, **changes: Any) -> SshDriver:
    """A new driver for a facility that has a stack, not started."""
    facility = facility_info("FAR", stacks={"w_1": python}, butlers={"main": "/far/repo"})
    return SshFactory().create(facility, far.settings(**changes), far.host)


@contextlib.asynccontextmanager
async def running(far: FarMachine, **changes: Any) -> AsyncIterator[SshDriver]:
    """A started driver that is stopped at the end."""
    driver = driver_of(far, **changes)
    await driver.start()
    try:
        yield driver
    finally:
        await driver.stop()


def order_of(**plan: Any) -> JobOrder:
    """An order for a run that goes as planned."""
    return process_order(config=plan)


async def outcome_of(driver: SshDriver, order: JobOrder) -> Outcome:
    """Run one order to its end."""
    refs = await submitted(driver, [order])
    return (await outcomes(driver, refs, DEADLINE_S))[order.key]


async def refused(driver: SshDriver, order: JobOrder) -> Refused:
    """The refusal of an order that leaves nothing behind."""
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Refused), answer
    assert list(await driver.find([order.key])) == [Absent(order.key)]
    return answer


class TestProcessJobsKeepTheContract(OverSsh):
    """The same contract, in the same world, as the scripts'."""

    async def make_driver(self) -> SshDriver:
        driver = driver_of(self.far)
        await driver.start()
        return driver

    def orders(self, n: int) -> list[JobOrder]:
        return [order_of(outcome=WELL) for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [order_of(sleep=600) for _ in range(n)]


async def test_what_the_runner_is_given(far: FarMachine) -> None:
    order = process_order(
        config={"outcome": WELL, "x": 1},
        mode="missing-only",
        former_runs=("r2", "r1"),
        former_refs=("camp/step/p.a2-2", "camp/step/p.a1-1", "../../etc", "panda-17"),
    )
    async with running(far, pipeline_env={"PIPE_DIR": "/pipes"}) as driver:
        outcome = await outcome_of(driver, order)
        assert outcome.ok, outcome
        assert (outcome.expected, outcome.successful) == (4, 4)
        assert outcome.output_run == order.output_run
    attempts = far.work / "attempts"
    written = json.loads((attempts / ref_of(order.key) / "runner.json").read_text())
    assert written["work_dir"] == str(attempts / ref_of(order.key))
    assert written["butler"] == "/far/repo"
    assert written["skip_existing_in"] == ["r2", "r1"]
    assert written["previous_graphs"] == [
        str(attempts / "camp/step" / name / "graph.qg") for name in ("p.a1-1", "p.a2-2")
    ]
    kept = json.loads((attempts / ref_of(order.key) / "order.json").read_text())
    assert kept["env"]["PIPE_DIR"] == "/pipes"
    assert kept["env"]["CMD_KEY"] == order.key
    first_try = process_order(former_runs=("r1",), former_refs=("camp/step/p.a1-1",))
    async with running(far) as driver:
        await outcome_of(driver, first_try)
    written = json.loads((attempts / ref_of(first_try.key) / "runner.json").read_text())
    assert (written["skip_existing_in"], written["previous_graphs"]) == ([], [])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stack": "w_9"}, "has no stack 'w_9' (it has: w_1)"),
        ({"butler": "dp2"}, "no Butler repository 'dp2' (it has: main)"),
        ({"params": {}}, "names no pipeline"),
        ({"params": {"pipeline": "p", "processes": 0}}, "'processes'"),
    ],
)
async def test_bad_orders_are_refused_for_good(
    shared_far: FarMachine, fields: dict[str, Any], words: str
) -> None:
    async with running(shared_far) as driver:
        answer = await refused(driver, process_order(**fields))
    assert answer.error_class is ErrorClass.PERMANENT
    assert words in answer.message


async def test_a_stack_that_is_not_there_is_told_with_its_place(shared_far: FarMachine) -> None:
    async with running(shared_far, python="/opt/no/stack/bin/python") as driver:
        answer = await refused(driver, process_order())
    assert answer.error_class is ErrorClass.PERMANENT
    assert (
        "there is no Python /opt/no/stack/bin/python of stack 'w_1' at facility FAR"
        in answer.message
    )


async def test_a_stack_that_cannot_be_executed_is_permanent(far: FarMachine) -> None:
    python = far.root / "stack-python"
    python.write_text("not a program")
    async with running(far, python=str(python)) as driver:
        outcome = await outcome_of(driver, process_order())
    assert (outcome.ok, outcome.error_class) == (False, ErrorClass.PERMANENT)
    assert f"{python} cannot be started: Permission denied" in outcome.message


async def test_a_removed_runner_is_put_there_again(far: FarMachine) -> None:
    async with running(far) as driver:
        assert (await outcome_of(driver, order_of(outcome=WELL))).ok
        (runner,) = (far.work / "programs").glob("*/process_runner.py")
        runner.unlink()
        assert (await outcome_of(driver, order_of(outcome=WELL))).ok
        assert runner.exists()


async def test_a_script_needs_no_runner(far: FarMachine) -> None:
    async with running(far) as driver:
        assert (await outcome_of(driver, script_order("echo script\n"))).ok
    assert not (far.work / "programs").exists()


async def test_progress_and_parts_while_it_runs(shared_far: FarMachine) -> None:
    told = {"phase": "run", "expected": {"isr": 4, "cal": 2}, "done": 3, "failed": 1}
    async with running(shared_far) as driver:
        refs = await submitted(driver, [order_of(progress=told, sleep=600)])
        seen = await wait_until(driver, refs, {Phase.RUNNING}, DEADLINE_S)
        while (progress := seen[refs[0].key].progress) is None or progress.unit != "quanta":
            seen = await wait_until(driver, refs, {Phase.RUNNING}, DEADLINE_S)
        assert (progress.done, progress.total, progress.failed, progress.note) == (3, 6, 1, "run")
        parts = {part.name: part for part in await driver.inspect(refs[0])}
        assert [parts[name].state for name in ("graph", "run", "report")] == [
            "done",
            "running",
            "waiting",
        ]
        assert parts["isr"].counts["expected"] == 4
        assert parts["log.txt"].log
        await driver.cancel(refs)
        await outcomes(driver, refs, DEADLINE_S)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"exit": 3}, "ended with exit code 3 without telling its outcome; its last lines: runner"),
        ({"outcome": WELL, "exit": 1}, "says it went well but ended with exit code 1"),
        (
            {"outcome": {**WELL, "graph": {"n_quanta": 5}}},
            "its report has 4 quanta and its graph 5",
        ),
    ],
)
async def test_a_run_is_believed_only_as_far_as_its_end_bears_it_out(
    shared_far: FarMachine, plan: dict[str, Any], words: str
) -> None:
    async with running(shared_far) as driver:
        outcome = await outcome_of(driver, order_of(**plan))
    assert not outcome.ok
    assert words in outcome.message


async def test_a_job_above_its_memory_or_its_time_is_killed(far: FarMachine) -> None:
    greedy = process_order(config={"bytes": 300 << 20, "sleep": 600}, memory=100 * 1000**2)
    slow = process_order(config={"sleep": 600}, walltime_s=0.5)
    async with running(far) as driver:
        refs = await submitted(driver, [greedy, slow])
        ended = await outcomes(driver, refs, DEADLINE_S)
    assert ended[greedy.key].exit_code == 137
    assert "of memory, 100 MB were allowed" in ended[greedy.key].message
    assert "killed at FAR" in ended[greedy.key].message
    assert ended[slow.key].exit_code == 124
    assert "not done after the 0.5 s it was allowed" in ended[slow.key].message
    assert not far.marked()


async def test_the_memory_of_running_attempts_must_fit(far: FarMachine) -> None:
    async with running(far, memory="1 GB") as driver:
        first = process_order(config={"sleep": 600}, memory=700_000_000)
        (ref,) = await submitted(driver, [first])
        second = process_order(config={"outcome": WELL}, memory=400_000_000)
        answer = await refused(driver, second)
        assert answer.error_class is ErrorClass.NOT_YET
        assert "0.7 GB of its 1.0 GB of memory are taken, the job asks for 0.4 GB" in answer.message
        await driver.cancel([ref])
        await outcomes(driver, [ref], DEADLINE_S)
        assert (await outcome_of(driver, second)).ok


async def test_a_script_whose_file_is_held_open_starts_when_it_is_free(far: FarMachine) -> None:
    """The system refuses to execute a file that any process has open for writing, even one that
    is only about to become another program."""
    script = far.root / "busy.sh"
    script.write_text("#!/bin/sh\necho '{\"free\": 1}'\n")
    script.chmod(0o755)
    order = script_order(str(script))
    async with running(far) as driver:
        holding = os.open(script, os.O_WRONLY)
        try:
            refs = await submitted(driver, [order])
            started = far.work / "attempts" / ref_of(order.key) / "log.txt"
            while not started.exists():
                await wait_until(driver, refs, {Phase.QUEUED, Phase.RUNNING}, DEADLINE_S)
        finally:
            os.close(holding)
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
    assert outcome.ok, outcome
    assert outcome.extra["result"] == {"free": 1}
    assert far.ledger() == {order.key: 1}


def test_a_name_that_leads_elsewhere_is_not_ours() -> None:
    for name in ("a/b", "a/../c", "/a/b", "a/b/c/d", "17"):
        assert not far_orders.is_ours(name)
    assert far_orders.is_ours(ref_of(JobRef("camp/step/g/process#1", "").key))
