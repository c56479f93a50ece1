"""The local driver against real processes: the contract, limits, cancelling, bad orders."""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from local_setup import Outside, process_order, script_order, until

from cmd_daemon.hooks import (
    Accepted,
    DriverError,
    ErrorClass,
    JobOrder,
    JobRef,
    Outcome,
    Phase,
    Refused,
)
from cmd_daemon.testing.driver_contract import (
    DriverContract,
    outcomes,
    submitted,
    wait_until,
)
from cmd_local.attempts import ref_of
from cmd_local.driver import LocalDriver

DEADLINE_S = 20.0


class TestLocalDriverContract(DriverContract):
    deadline_s = DEADLINE_S

    @pytest.fixture(autouse=True)
    def world(self, outside: Outside) -> None:
        self.outside = outside

    async def make_driver(self) -> LocalDriver:
        return await self.outside.driver()

    def orders(self, n: int) -> list[JobOrder]:
        return [script_order("echo working\n") for _ in range(n)]

    def long_orders(self, n: int) -> list[JobOrder]:
        return [script_order("sleep 600 & sleep 600\n") for _ in range(n)]

    def ledger(self) -> Mapping[str, int]:
        return self.outside.ledger()

    @contextlib.contextmanager
    def fail_some(self, keys: Sequence[str]) -> Iterator[None]:
        """A directory in the place of the temporary one, which cannot be replaced."""
        blocked = []
        for key in keys:
            parent = (self.outside.work / "attempts" / ref_of(key)).parent
            parent.parent.mkdir(parents=True, exist_ok=True)
            marker = self.outside.work / "running" / Path(ref_of(key)).name
            marker.mkdir()  # the marker of a running attempt cannot be written
            blocked.append(marker)
        yield
        for marker in blocked:
            marker.rmdir()

    @contextlib.contextmanager
    def throttle(self) -> Iterator[None]:
        """All slots are taken."""
        slots, self.outside.settings.slots = self.outside.settings.slots, 0
        yield
        self.outside.settings.slots = slots


async def run(outside: Outside, order: JobOrder) -> tuple[str, Outcome]:
    """Run one order to its end."""
    driver = await outside.driver()
    (ref,) = await submitted(driver, [order])
    ended = await outcomes(driver, [ref], DEADLINE_S)
    await driver.stop()
    return ref.ref, ended[order.key]


async def refusal(outside: Outside, order: JobOrder) -> Refused:
    """The answer to an order that must be refused and leave nothing behind."""
    driver = await outside.driver()
    (answer,) = await driver.submit([order])
    await driver.stop()
    assert isinstance(answer, Refused), answer
    assert not outside.directory(ref_of(order.key)).exists()
    return answer


async def test_a_scripts_last_json_line_is_its_result(outside: Outside) -> None:
    script = """#!/bin/sh
echo "$CMD_GROUP $1 $EXTRA" >&2
echo '{"warmed": 12}'
"""
    params = {"args": ["{campaign}:{attempt}"], "env": {"EXTRA": "{output_run}"}}
    order = script_order(script, params=params, output_run="u/r")
    ref, outcome = await run(outside, order)
    assert outcome.ok, outcome
    assert outcome.extra["result"] == {"warmed": 12}
    log = (outside.directory(ref) / "log.txt").read_text()
    assert f"{order.group} camp:1 u/r" in log
    assert outcome.started_at is not None
    assert outcome.finished_at is not None
    assert outcome.finished_at >= outcome.started_at


async def test_a_failing_script_tells_its_exit_code_and_last_lines(outside: Outside) -> None:
    _, outcome = await run(outside, script_order("echo no such tape\nexit 7\n"))
    assert (outcome.ok, outcome.exit_code, outcome.error_class) == (False, 7, None)
    assert outcome.message == ("the script ended with exit code 7; its last lines: no such tape")
    assert outcome.failures[0].exit == 7


async def test_a_script_file_below_scripts_dir(outside: Outside) -> None:
    scripts = outside.root / "scripts"
    scripts.mkdir()
    (scripts / "warm.sh").write_text("echo from a file\n")
    outside.settings.scripts_dir = scripts
    ref, outcome = await run(outside, script_order("warm.sh"))
    assert outcome.ok, outcome
    assert (outside.directory(ref) / "log.txt").read_text() == "from a file\n"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"script": "/no/such/file.sh"}, "script file /no/such/file.sh is missing"),
        ({"script": "relative.sh"}, "has no 'scripts_dir'"),
        ({"script": "true\n", "args": ["{visit}"]}, "unknown name {visit}"),
        ({"script": "true\n", "args": ["{"]}, "not a good template"),
        ({"script": "true\n", "args": ["{campaign.x}"]}, "not a good template"),
        ({"script": "true\n", "args": "all"}, "'args' must be a list"),
        ({"script": "true\n", "arg": []}, "no parameter arg"),
        ({"script": ""}, "names no script"),
    ],
)
async def test_bad_scripts_are_refused_for_good(
    outside: Outside, params: dict[str, object], words: str
) -> None:
    answer = await refusal(outside, script_order("", params=params))
    assert answer.error_class is ErrorClass.PERMANENT
    assert words in answer.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stack": "w_9"}, "has no stack 'w_9' (it has: w_1)"),
        ({"butler": "dp2"}, "no Butler repository 'dp2' (it has: main)"),
        ({"params": {}}, "names no pipeline"),
        ({"params": {"pipeline": "p", "processes": 0}}, "'processes'"),
        ({"params": {"pipeline": "p", "tasks": 1}}, "no parameter tasks"),
    ],
)
async def test_bad_process_orders_are_refused_for_good(
    outside: Outside, fields: dict[str, object], words: str
) -> None:
    answer = await refusal(outside, process_order(**fields))
    assert answer.error_class is ErrorClass.PERMANENT
    assert words in answer.message


async def test_a_stack_that_is_not_there_is_refused_with_its_place(outside: Outside) -> None:
    outside.settings.stack_python = "/opt/no/stack/bin/python"
    answer = await refusal(outside, process_order())
    assert answer.error_class is ErrorClass.PERMANENT
    assert "there is no Python /opt/no/stack/bin/python of stack 'w_1'" in answer.message


async def test_a_stack_that_cannot_be_executed_is_permanent(outside: Outside) -> None:
    python = outside.root / "python"
    python.write_text("not a program")
    outside.settings.stack_python = str(python)
    _, outcome = await run(outside, process_order())
    assert (outcome.ok, outcome.error_class) == (False, ErrorClass.PERMANENT)
    assert outcome.message == f"{python} cannot be started: Permission denied"


async def test_a_job_above_its_memory_is_killed(outside: Outside) -> None:
    script = 'exec python3 -c "b = bytearray(300 << 20); import time; time.sleep(600)"\n'
    ref, outcome = await run(outside, script_order(script, memory=100 * 1000**2))
    assert (outcome.ok, outcome.exit_code) == (False, 137)
    assert "of memory, 100 MB were allowed" in outcome.message
    assert outside.exit(ref)["killed_for"] == "memory"
    assert outside.exit(ref)["max_rss"] > 100 * 1000**2


async def test_a_job_past_its_time_is_killed_also_if_it_will_not_go(outside: Outside) -> None:
    outside.settings.grace_s = 0.2
    script = "trap '' TERM\nwhile :; do sleep 600; done\n"
    ref, outcome = await run(outside, script_order(script, walltime_s=0.5))
    assert (outcome.ok, outcome.exit_code) == (False, 124)
    assert outcome.message == "killed: not done after the 0.5 s it was allowed"
    assert outside.exit(ref)["signal"] == 9


async def test_cancel_ends_the_whole_tree(outside: Outside) -> None:
    """Also what left the session and has no parent any more."""
    script = "(setsid sleep 600 &)\n(sleep 600 &)\necho up\nsleep 600\n"
    driver = await outside.driver()
    (ref,) = await submitted(driver, [script_order(script)])
    async for chunk in driver.read_log(ref, "", 0, follow=True):
        assert chunk.data == b"up\n"
        break
    assert len(outside.marked()) >= 5, "supervisor, sh and three sleeps"
    (answer,) = await driver.cancel([ref])
    assert answer.done
    ended = await outcomes(driver, [ref], DEADLINE_S)
    assert (ended[ref.key].ok, ended[ref.key].message) == (False, "cancelled")
    await no_process_left(outside)
    await driver.stop()


async def no_process_left(outside: Outside) -> None:
    """Wait until every process of the work directory is gone."""
    await until(lambda: not outside.marked())


async def test_what_a_command_leaves_behind_is_ended(outside: Outside) -> None:
    _, outcome = await run(outside, script_order("setsid sleep 600 &\nexit 0\n"))
    assert outcome.ok, outcome
    await no_process_left(outside)


async def test_the_daemons_environment_stays_with_it(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    ref, outcome = await run(outside, script_order("env\n"))
    assert outcome.ok
    assert "DATABASE_PASSWORD" not in (outside.directory(ref) / "log.txt").read_text()


async def test_slots_and_memory_are_not_yet(outside: Outside) -> None:
    outside.settings.slots = 2
    driver = await outside.driver()
    answers = await driver.submit([script_order("sleep 600\n") for _ in range(3)])
    assert [type(answer) for answer in answers].count(Accepted) == 2
    (refused,) = (answer for answer in answers if isinstance(answer, Refused))
    assert refused.error_class is ErrorClass.NOT_YET
    assert "all 2 slots are taken" in refused.message
    again = await outside.driver()
    (after_restart,) = await again.submit([script_order("true\n")])
    assert isinstance(after_restart, Refused), "running attempts count after a restart"
    await driver.stop()
    await again.stop()


async def test_the_memory_of_running_attempts_must_fit(outside: Outside) -> None:
    outside.settings = outside.settings.model_validate(
        {**outside.settings.model_dump(), "memory": "1 GB"}
    )
    driver = await outside.driver()
    (first,) = await submitted(driver, [script_order("sleep 600\n", memory=700_000_000)])
    (second,) = await driver.submit([script_order("true\n", memory=400_000_000)])
    assert isinstance(second, Refused)
    assert second.error_class is ErrorClass.NOT_YET
    assert "0.7 GB of its 1.0 GB" in second.message
    await driver.cancel([first])
    await outcomes(driver, [first], DEADLINE_S)
    await submitted(driver, [script_order("true\n", memory=400_000_000)])
    await driver.stop()


async def test_the_end_of_an_attempt_wakes_the_poller(outside: Outside) -> None:
    driver = await outside.driver()
    await submitted(driver, [script_order("true\n")])
    await until(lambda: bool(outside.host.wakes))
    assert outside.host.wakes[0] == ("HERE", "local")
    await driver.stop()


async def test_a_log_is_followed_while_it_grows(outside: Outside) -> None:
    gate = outside.root / "gate"
    script = f"echo one\nwhile [ ! -e {gate} ]; do sleep 0.05; done\necho two\n"
    driver = await outside.driver()
    (ref,) = await submitted(driver, [script_order(script)])
    text = b""
    async with asyncio.timeout(DEADLINE_S):
        async for chunk in driver.read_log(ref, "log.txt", 0, follow=True):
            text += chunk.data
            gate.touch()
            last = chunk
    assert text == b"one\ntwo\n"
    assert last.end
    tail = [chunk async for chunk in driver.read_log(ref, "log.txt", -4, follow=False)]
    assert [(chunk.offset, chunk.data, chunk.end) for chunk in tail] == [(4, b"two\n", True)]
    await driver.stop()


async def test_an_unusable_work_directory_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outside = Outside(tmp_path, work_dir=tmp_path / "file" / "work")
    with pytest.raises(DriverError, match="cannot be used") as caught:
        await outside.driver()
    assert caught.value.error_class is ErrorClass.TRANSIENT


async def test_old_attempts_are_removed(outside: Outside) -> None:
    ref, _ = await run(outside, script_order("true\n"))
    outside.settings.keep_days = 1e-9
    await (await outside.driver()).stop()
    assert not outside.directory(ref).exists()


# ---- process jobs, with a runner that writes what the test wants

RUNNER = """
import json, os, sys
order = json.load(open(sys.argv[1]))
plan = json.loads(os.environ["PLAN"])
print("runner of", order["key"])
if plan["outcome"] is not None:
    json.dump(plan["outcome"], open("outcome.json", "w"))
sys.exit(plan["exit"])
"""


@pytest.fixture
def runner(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Outside:
    """The facility's runner replaced by one that obeys the environment's PLAN."""
    program = outside.root / "runner.py"
    program.write_text(RUNNER)
    monkeypatch.setattr("cmd_local.payload.RUNNER", program)
    return outside


def plan(outside: Outside, outcome: dict[str, object] | None, code: int = 0) -> None:
    text = json.dumps({"outcome": outcome, "exit": code})
    outside.settings.pipeline_env = {"PLAN": text}


GOOD = {"expected": 4, "successful": 4, "failed": 0, "blocked": 0, "unknown": 0, "wonky": 0}


async def test_a_good_run(runner: Outside) -> None:
    told = {"ok": True, "phase": "done", "quanta": {"isr": GOOD}, "graph": {"n_quanta": 4}}
    plan(runner, {**told, "message": "All 4 quanta succeeded."})
    order = process_order(
        mode="missing-only", former_runs=("r1",), former_refs=("gone",), where="visit = 1"
    )
    ref, outcome = await run(runner, order)
    assert outcome.ok, outcome
    assert (outcome.expected, outcome.successful) == (4, 4)
    assert outcome.output_run == order.output_run
    written = json.loads((runner.directory(ref) / "runner.json").read_text())
    assert written["skip_existing_in"] == ["r1"]
    assert written["previous_graphs"] == []
    assert written["where"] == "visit = 1"
    assert written["butler"] == runner.facility.butlers["main"]
    driver = await runner.driver()
    parts = await driver.inspect(JobRef(order.key, ref))
    (found,) = [part for part in parts if part.kind == "task"]
    assert (found.name, found.state, found.counts["successful"]) == ("isr", "done", 4)
    await driver.stop()


@pytest.mark.parametrize(
    ("quanta", "n_quanta", "code", "words"),
    [
        ({"isr": {**GOOD, "successful": 3, "failed": 1}}, 4, 0, "3 of 4 quanta succeeded"),
        ({"isr": GOOD}, 5, 0, "its report has 4 quanta and its graph 5"),
        ({}, 0, 0, "0 of 0 quanta succeeded"),
        ({"isr": GOOD}, 4, 1, "ended with exit code 1"),
    ],
)
async def test_a_run_that_says_ok_is_believed_by_its_counts_only(
    runner: Outside, quanta: dict[str, object], n_quanta: int, code: int, words: str
) -> None:
    plan(runner, {"ok": True, "quanta": quanta, "graph": {"n_quanta": n_quanta}}, code)
    _, outcome = await run(runner, process_order())
    assert not outcome.ok
    assert words in outcome.message
    assert outcome.failures


async def test_a_failed_run_tells_its_failures(runner: Outside) -> None:
    failure = {"task": "isr", "data_id": {"visit": 3}, "message": "No flat found", "exit": None}
    counts = {**GOOD, "successful": 2, "failed": 1, "blocked": 0, "wonky": 1}
    told = {"ok": False, "quanta": {"isr": counts}, "failures": [failure], "message": "2 of 4"}
    plan(runner, told, 1)
    _, outcome = await run(runner, process_order())
    assert (outcome.ok, outcome.error_class, outcome.message) == (False, None, "2 of 4")
    assert outcome.quanta["isr"].unknown == 1
    assert (outcome.failures[0].task, outcome.failures[0].data_id) == ("isr", '{"visit": 3}')


async def test_a_permanent_failure_stays_permanent(runner: Outside) -> None:
    plan(runner, {"ok": False, "error_class": "Permanent", "message": "the graph is empty"}, 2)
    _, outcome = await run(runner, process_order())
    assert (outcome.error_class, outcome.message) == (ErrorClass.PERMANENT, "the graph is empty")


async def test_a_run_without_an_outcome_shows_its_last_lines(runner: Outside) -> None:
    plan(runner, None, 3)
    order = process_order()
    _, outcome = await run(runner, order)
    assert not outcome.ok
    assert "ended with exit code 3 without telling its outcome" in outcome.message
    assert f"runner of {order.key}" in outcome.message


async def test_progress_is_seen_while_it_runs(outside: Outside) -> None:
    driver = await outside.driver()
    (ref,) = await submitted(driver, [script_order("sleep 600\n")])
    told = {"phase": "run", "expected": {"isr": 4, "cal": 2}, "done": 3, "failed": 1}
    (outside.directory(ref.ref) / "progress.json").write_text(json.dumps(told))
    seen = await wait_until(driver, [ref], {Phase.RUNNING}, DEADLINE_S)
    progress = seen[ref.key].progress
    assert progress is not None
    assert (progress.done, progress.total, progress.failed, progress.note) == (3, 6, 1, "run")
    await driver.stop()
