"""Process jobs over ssh with the real stack: graph, run and report at the far side, exactly once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from far_machine import FarMachine
from far_stack import DEADLINE_S, FAULTS, FarStack, make_sky, process_order

from cmd_daemon.hooks import DriverError, ErrorClass, JobOrder, JobRef, Outcome, Phase, Progress
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_housekeeping.ssh_driver import SshDriver


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest sky, not to be written to."""
    repo = tmp_path_factory.mktemp("sky") / "repo"
    make_sky(repo)
    return repo


@pytest.fixture
def stack(far: FarMachine, sky: Path) -> FarStack:
    """A far machine with the stack and a sky of its own."""
    return FarStack(far, sky)


@contextlib.asynccontextmanager
async def running(stack: FarStack, **changes: Any) -> AsyncIterator[SshDriver]:
    """A started driver that is stopped at the end."""
    driver = stack.driver(**changes)
    await driver.start()
    try:
        yield driver
    finally:
        await driver.stop()


async def progress_of(driver: SshDriver, ref: JobRef, done: int) -> Progress:
    """Wait until the runner has told that it runs the graph and so many quanta are done."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            (seen,) = await driver.observe([ref])
            assert seen.phase in (Phase.QUEUED, Phase.RUNNING), seen
            told = seen.progress
            if told is not None and told.note == "run" and told.done >= done:
                return told
            await asyncio.sleep(0.05)


async def patiently(driver: SshDriver, refs: list[JobRef]) -> dict[str, Outcome]:
    """Outcomes, while observing may fail for now."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await outcomes(driver, refs, DEADLINE_S)
            except DriverError as error:
                if error.error_class is not ErrorClass.TRANSIENT:
                    raise
                await asyncio.sleep(0.05)


async def test_the_server_stops_and_starts_in_the_middle_of_a_run(stack: FarStack) -> None:
    order = process_order(config={f"{FAULTS}sleepSeconds": 0.3})
    async with running(stack) as driver:
        refs = await submitted(driver, [order])
        told = await progress_of(driver, refs[0], done=2)
        assert (told.total, told.note) == (8, "run")
        stack.far.stop()
        with pytest.raises(DriverError) as caught:
            await driver.observe(refs)
        assert caught.value.error_class is ErrorClass.TRANSIENT
        stack.far.start()
        outcome = (await patiently(driver, refs))[order.key]
        assert outcome.ok, outcome
        assert (outcome.expected, outcome.successful) == (8, 8)
        assert outcome.message == "All 8 quanta succeeded."
        assert outcome.output_run == order.output_run
        assert outcome.extra["datasets"]["calibrated_stars"] == {"expected": 8, "visible": 8}
        assert await submitted(driver, [order]) == refs
        assert stack.far.ledger() == {order.key: 1}

        parts = {part.name: part for part in await driver.inspect(refs[0])}
        assert {parts[name].state for name in ("graph", "run", "report")} == {"done"}
        assert parts["calibrateImage"].counts["successful"] == 8
        chunks = [c async for c in driver.read_log(refs[0], "", 0, follow=True)]
        log = b"".join(chunk.data for chunk in chunks).decode()
        assert log.count("pipetask qgraph") == 1
        assert log.count("pipetask run") == 1


async def test_a_rescue_takes_over_what_the_first_attempt_made(stack: FarStack) -> None:
    faults = {
        f"{FAULTS}failDataIds": "1002:1;1003:*",
        f"{FAULTS}failOnceDir": str(stack.far.root / "once"),
    }
    async with running(stack) as driver:
        first = process_order(config=faults)
        refs = await submitted(driver, [first])
        outcome = (await outcomes(driver, refs, DEADLINE_S))[first.key]
        counts = outcome.quanta["calibrateImage"]
        assert (outcome.ok, outcome.exit_code, outcome.error_class) == (False, 1, None)
        assert (counts.expected, counts.successful, counts.failed) == (8, 5, 3)
        assert "Too few stars for photometry" in outcome.failures[0].message

        rescue = process_order(
            int(first.group),
            attempt=2,
            mode="missing-only",
            former_runs=(first.output_run,),
            former_refs=(refs[0].ref,),
            config=faults,
        )
        again = await submitted(driver, [rescue])
        outcome = (await outcomes(driver, again, DEADLINE_S))[rescue.key]
        assert outcome.ok, outcome
        assert outcome.message == "All 8 quanta succeeded, 3 of them in this attempt."
        assert stack.far.ledger() == {first.key: 1, rescue.key: 1}


async def test_cancel_ends_the_whole_tree(stack: FarStack) -> None:
    order = process_order(config={f"{FAULTS}sleepSeconds": 60})
    async with running(stack) as driver:
        refs = await submitted(driver, [order])
        await progress_of(driver, refs[0], done=0)
        assert (await driver.cancel(refs))[0].done
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
        assert (outcome.ok, outcome.message.partition(";")[0]) == (False, "cancelled")
    async with asyncio.timeout(DEADLINE_S):
        while stack.far.marked():  # noqa: ASYNC110 the outside world sets no events
            await asyncio.sleep(0.02)


def wrong(what: str, stack: FarStack) -> JobOrder:
    """An order that the runner cannot carry out."""
    if what == "repository":
        stack.repo.rename(stack.repo.with_name("elsewhere"))
        return process_order()
    return process_order(where="instrument='DemoCam' AND visit=7")


@pytest.mark.parametrize(
    ("what", "words"), [("repository", "no Butler repository at"), ("data", "is empty: no data")]
)
async def test_what_the_runner_cannot_do_is_permanent(
    stack: FarStack, what: str, words: str
) -> None:
    order = wrong(what, stack)
    async with running(stack) as driver:
        refs = await submitted(driver, [order])
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
    assert (outcome.ok, outcome.error_class) == (False, ErrorClass.PERMANENT)
    assert words in outcome.message
