"""Nothing is lost and nothing runs twice, whatever is killed and whenever."""

import asyncio
import os
import random
import signal
import time

import pytest
from local_setup import Outside, script_order, until

from cmd_daemon.hooks import Absent, DriverError, ErrorClass, Found, JobOrder, Phase
from cmd_daemon.testing.driver_contract import outcomes, submitted, wait_until
from cmd_local.attempts import WorkDirectory, ref_of
from cmd_local.watching import spawn

DEADLINE_S = 20.0
KILL_POINTS = 20
SPAN_S = 0.08
"""About how long planting and starting five attempts takes."""


def submit_in_another_process(outside: Outside, orders: list[JobOrder], kill_after: float) -> None:
    """Let a process with a driver of its own submit, and kill it with -9 after so many seconds."""

    async def submit() -> None:
        driver = await outside.driver()
        await driver.submit(orders)
        await asyncio.Event().wait()

    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(submit())
        finally:
            os._exit(1)
    time.sleep(kill_after)  # the moment of the kill is what is tried
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("seed", range(KILL_POINTS))
def test_a_killed_daemon_loses_nothing_and_repeats_nothing(outside: Outside, seed: int) -> None:
    orders = [script_order("echo done\n") for _ in range(5)]
    moment = random.Random(seed).uniform(0.0, SPAN_S)
    submit_in_another_process(outside, orders, moment)

    async def recover() -> None:
        driver = await outside.driver()
        found = await driver.find([order.key for order in orders])
        assert all(isinstance(answer, Found | Absent) for answer in found)
        refs = await submitted(driver, orders)
        ended = await outcomes(driver, refs, DEADLINE_S)
        assert all(outcome.ok for outcome in ended.values()), ended
        await driver.stop()

    asyncio.run(recover())
    assert outside.ledger() == {order.key: 1 for order in orders}
    assert not list((outside.work / "running").iterdir())


async def test_killed_between_planting_and_starting(outside: Outside) -> None:
    """The directory is there, its supervisor never started: found, then started once."""
    driver = await outside.driver()
    order = script_order("echo done\n")
    payload = driver._prepare(order)
    work = WorkDirectory(outside.work)
    assert work.plant(order.key, payload.files, payload.executables)
    await driver.stop()
    assert outside.ledger() == {}
    driver = await outside.driver()
    assert list(await driver.find([order.key])) == [Found(order.key, ref_of(order.key))]
    refs = await submitted(driver, [order])
    ended = await outcomes(driver, refs, DEADLINE_S)
    assert ended[order.key].ok
    assert outside.ledger() == {order.key: 1}
    await driver.stop()


async def test_many_supervisors_of_one_attempt_start_it_once(outside: Outside) -> None:
    driver = await outside.driver()
    order = script_order("sleep 0.2\n")
    (ref,) = await submitted(driver, [order])
    rivals = [spawn(outside.directory(ref.ref)) for _ in range(5)]
    ended = await outcomes(driver, [ref], DEADLINE_S)
    assert ended[order.key].ok
    await until(lambda: all(rival.poll() is not None for rival in rivals))
    assert outside.ledger() == {order.key: 1}
    await driver.stop()


async def test_a_vanished_supervisor_is_a_transient_failure(outside: Outside) -> None:
    driver = await outside.driver()
    order = script_order("(setsid sleep 600 &)\necho up\nsleep 600\n")
    (ref,) = await submitted(driver, [order])
    log = outside.directory(ref.ref) / "log.txt"
    await until(lambda: log.exists() and bool(log.read_text()))
    os.kill(outside.supervisor(ref.ref), signal.SIGKILL)
    ended = await outcomes(driver, [ref], DEADLINE_S)
    outcome = ended[order.key]
    assert (outcome.ok, outcome.error_class) == (False, ErrorClass.TRANSIENT)
    assert "the supervisor vanished" in outcome.message
    await until(lambda: not outside.marked())
    again = await outside.driver()
    assert await outcomes(again, [ref], DEADLINE_S) == ended
    assert outside.ledger() == {order.key: 1}
    await again.stop()
    await driver.stop()


@pytest.mark.parametrize("seed", range(10))
async def test_a_supervisor_killed_at_any_moment(outside: Outside, seed: int) -> None:
    driver = await outside.driver()
    orders = [script_order("echo done\n") for _ in range(3)]
    refs = await submitted(driver, orders)
    await asyncio.sleep(random.Random(seed).uniform(0.0, SPAN_S))  # the moment is what is tried
    for child in list(driver._children.values()):
        child.kill()
    ended = await outcomes(driver, refs, DEADLINE_S)
    ledger = outside.ledger()
    for order in orders:
        outcome = ended[order.key]
        assert outcome.ok or outcome.error_class is ErrorClass.TRANSIENT, outcome
        assert ledger.get(order.key, 0) <= 1
    await driver.stop()


async def test_a_running_attempt_is_adopted_and_its_end_wakes(outside: Outside) -> None:
    gate = outside.root / "gate"
    order = script_order(f"while [ ! -e {gate} ]; do sleep 0.02; done\n")
    submit_then_die = asyncio.to_thread(submit_in_another_process, outside, [order], 0.5)
    await submit_then_die
    driver = await outside.driver()
    (ref,) = await submitted(driver, [order])
    await wait_until(driver, [ref], {Phase.RUNNING}, DEADLINE_S)
    outside.host.wakes.clear()
    gate.touch()
    await until(lambda: bool(outside.host.wakes))
    ended = await outcomes(driver, [ref], DEADLINE_S)
    assert ended[order.key].ok
    assert outside.ledger() == {order.key: 1}
    await driver.stop()


async def test_half_planted_attempts_are_cleared(outside: Outside) -> None:
    await (await outside.driver()).stop()
    (outside.work / "tmp" / "half").mkdir()
    (outside.work / "running" / "never").write_text("camp/step/never")
    await (await outside.driver()).stop()
    assert not list((outside.work / "tmp").iterdir())
    assert not list((outside.work / "running").iterdir())


async def test_a_missing_disk_is_not_a_missing_attempt(outside: Outside) -> None:
    driver = await outside.driver()
    order = script_order("true\n")
    refs = await submitted(driver, [order])
    await outcomes(driver, refs, DEADLINE_S)
    away = outside.work / "attempts"
    moved = away.rename(outside.root / "away")
    (answer,) = await driver.find([order.key])
    assert type(answer).__name__ == "Unclear"
    with pytest.raises(DriverError) as caught:
        await driver.observe(refs)
    assert caught.value.error_class is ErrorClass.TRANSIENT
    moved.rename(away)
    await driver.stop()


async def test_a_supervisor_never_starts_what_was_started_before(outside: Outside) -> None:
    """Even where the ending is lost: the marker alone forbids it."""
    driver = await outside.driver()
    order = script_order("echo done\n")
    (ref,) = await submitted(driver, [order])
    await outcomes(driver, [ref], DEADLINE_S)
    directory = outside.directory(ref.ref)
    (directory / "exit.json").unlink()
    rival = spawn(directory)
    await until(lambda: rival.poll() is not None)
    assert rival.returncode == 4
    assert outside.ledger() == {order.key: 1}
    await driver.stop()


async def test_a_script_whose_file_is_held_open_starts_when_it_is_free(outside: Outside) -> None:
    """The system refuses to execute a file that any process has open for writing, even one that
    is only about to become another program."""
    driver = await outside.driver()
    script = outside.root / "busy.sh"
    script.write_text("#!/bin/sh\necho '{\"free\": 1}'\n")
    script.chmod(0o755)
    order = script_order(str(script))
    holding = os.open(script, os.O_WRONLY)
    try:
        (ref,) = await submitted(driver, [order])
        await until((outside.directory(ref.ref) / "log.txt").exists)
    finally:
        os.close(holding)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome
    assert outcome.extra["result"] == {"free": 1}
    assert outside.ledger() == {order.key: 1}
    await driver.stop()


async def test_an_unwritable_ledger_does_not_end_an_attempt(outside: Outside) -> None:
    driver = await outside.driver()
    (outside.work / "ledger").mkdir()
    order = script_order("echo done\n")
    refs = await submitted(driver, [order])
    assert (await outcomes(driver, refs, DEADLINE_S))[order.key].ok
    await driver.stop()


async def test_the_last_words_of_a_supervisor_that_vanished_are_told(outside: Outside) -> None:
    driver = await outside.driver()
    order = script_order("sleep 600\n")
    (ref,) = await submitted(driver, [order])
    directory = outside.directory(ref.ref)
    await until((directory / "log.txt").exists)
    with (directory / "supervisor.log").open("a") as log:
        log.write("KeyError: something unforeseen\n")
    os.kill(outside.supervisor(ref.ref), signal.SIGKILL)
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.error_class is ErrorClass.TRANSIENT
    assert outcome.message.endswith("it said last: KeyError: something unforeseen")
    await driver.stop()
