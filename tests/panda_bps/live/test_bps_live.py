"""Real BPS against the contract server: what it sends is what is found again, run and counted."""

import asyncio
import contextlib
import os
import signal
from dataclasses import replace

import pytest
from bps_world import BpsWorld, done, seen_until, until

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    Failure,
    Found,
    JobOrder,
    JobRef,
    Outcome,
    Phase,
    QuantaCount,
)
from cmd_panda.bps.rendering import request_name
from cmd_panda.driver import PandaDriver

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

TASKS = ("01_pipetaskInit_01", "02_images_01", "03_finalJob_01")
ONCE = {"calibrateImage:faults.failDataIds": "1003:1"}


def counted(outcome: Outcome) -> dict[str, tuple[int, int, int]]:
    """Expected, successful and failed quanta by task."""
    return {
        task: (each.expected, each.successful, each.failed) for task, each in outcome.quanta.items()
    }


async def test_a_workflow_from_order_to_outcome(world: BpsWorld, driver: PandaDriver) -> None:
    order = world.order()
    assert await driver.find([order.key]) == [Absent(order.key)]
    [answer] = await driver.submit([order])
    assert isinstance(answer, Accepted)
    assert await driver.find([order.key]) == [Found(order.key, answer.ref)]
    assert await driver.submit([order]) == [answer], "the same key is the same attempt"
    ref = JobRef(order.key, answer.ref)
    seen = await seen_until(driver, ref, lambda each: each.phase is Phase.DONE)

    outcome = seen[-1].outcome
    assert outcome is not None
    assert outcome.ok, outcome.message
    assert counted(outcome) == {"calibrateImage": (4, 4, 0)}
    assert outcome.output_run == order.output_run
    totals = {each.progress.total for each in seen[:-1] if each.progress and each.progress.total}
    assert totals == {4}, "progress is counted in quanta"

    name = request_name(order.key, "cmd")
    [request] = world.requests_of(order.key)
    assert outcome.extra["request"] == request.id
    assert outcome.extra["tasks"] == [f"{name}_{task}" for task in TASKS]
    tasks = [each["task"].rsplit("_", 2)[0] for each in world.runs_of(order.key)]
    assert sorted(tasks) == [
        f"{name}_01_pipetaskInit_01",
        f"{name}_02_images_01",
        f"{name}_02_images_01",
        f"{name}_03_finalJob_01",
    ]

    secret = world.token.read_text().strip().encode()
    files = [path for path in world.host.state_dir.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if secret in path.read_bytes()] == []

    parts = await driver.inspect(ref)
    kinds = [part.kind for part in parts]
    assert kinds.count("task") == 3
    assert kinds.count("job") == 4
    [shown] = [part for part in parts if part.kind == "request"]
    assert (shown.name, shown.state) == (f"request {request.id}", "Finished")
    log = [chunk async for chunk in driver.read_log(ref, "", 0, follow=False)]
    assert log[-1].end
    assert b"Submitted into iDDs" in b"".join(chunk.data for chunk in log)
    again = await world.driver()
    [told] = await again.observe([ref])
    assert told.outcome == outcome, "the same also for another daemon"
    await again.stop()


async def test_a_failed_image_is_told_with_its_job_and_rescued_alone(
    world: BpsWorld, driver: PandaDriver
) -> None:
    first = world.order("visit IN (1003, 1004)")
    first = replace(first, params={**first.params, "config": ONCE})
    outcome = await done(driver, first)
    assert not outcome.ok
    assert outcome.error_class is None
    assert counted(outcome) == {"calibrateImage": (4, 3, 1)}
    [failure] = outcome.failures
    assert failure.task == "calibrateImage"
    assert '"detector": 1' in failure.data_id
    assert failure.message.startswith("DemoFault: Too few stars for photometry")
    assert failure.exit == 1
    assert "/logs/SLAC_Rubin/PandaJob_" in failure.message
    runs = [each for each in world.runs_of(first.key) if "_images_" in each["task"]]
    assert len(runs) == 3, "PanDA has tried the failed job twice, and it counts once"

    ref = JobRef(first.key, (await driver.find([first.key]))[0].ref)  # type: ignore[union-attr]
    parts = await driver.inspect(ref)
    failed = [part for part in parts if part.kind == "job" and part.state == "failed"]
    assert failed
    assert "1305" in failed[-1].message
    stderr = f"{failed[-1].name}/payload.stderr"
    text = b"".join([chunk.data async for chunk in driver.read_log(ref, stderr, 0, False)])
    assert b"Too few stars for photometry" in text

    rescue = rescue_of(first, ref.ref)
    second = await done(driver, rescue)
    assert second.ok, second.message
    assert counted(second) == {"calibrateImage": (4, 4, 0)}
    assert second.extra["graph"]["n_quanta"] == 1
    assert len([each for each in world.runs_of(rescue.key) if "_images_" in each["task"]]) == 1

    nothing = rescue_of(rescue, (await driver.find([rescue.key]))[0].ref)  # type: ignore[union-attr]
    nothing = replace(
        nothing,
        former_refs=(nothing.former_refs[0], ref.ref),
        former_runs=(rescue.output_run, first.output_run),
    )
    third = await done(driver, nothing)
    assert third.ok, third.message
    assert "earlier attempts" in third.message
    assert world.requests_of(nothing.key) == [], "PanDA is not asked for nothing"


def rescue_of(order: JobOrder, ref: str) -> JobOrder:
    """The next attempt of an order, for what is missing."""
    number = order.attempt + 1
    params = {name: value for name, value in order.params.items() if name != "config"}
    return replace(
        order,
        key=order.key.replace(f"#{order.attempt}", f"#{number}"),
        attempt=number,
        params=params,
        output_run=order.output_run.replace(f"/a{order.attempt}", f"/a{number}"),
        former_runs=(order.output_run,),
        former_refs=(ref,),
        mode="missing-only",
    )


async def test_a_job_killed_for_memory_names_its_quanta(
    world: BpsWorld, driver: PandaDriver
) -> None:
    """It leaves no log of its quanta: only PanDA knows what became of them."""
    order = world.order()
    rule = world.server.pilot.fail(
        "*_1002*",
        code=1212,
        text="Payload exceeded maximum allowed memory",
        exit_code=0,
        tasks=f"{request_name(order.key, 'cmd')}_*",
    )
    outcome = await done(driver, order)
    world.server.pilot.rules.remove(rule)
    assert not outcome.ok
    [count] = outcome.quanta.values()
    assert count == QuantaCount(expected=4, successful=2, unknown=2)
    assert len(outcome.failures) == 2
    assert all('"visit": 1002' in each.data_id for each in outcome.failures)
    assert all(each.exit == 137 for each in outcome.failures), "as the rules of campaigns know it"
    assert all("out of memory" in each.message for each in outcome.failures)


async def test_killed_while_sending_the_request_is_found_again(world: BpsWorld) -> None:
    """The process that sends is killed, with the agent, while iDDS has the workflow and has not
    answered; so is the daemon's driver."""
    order = world.order()
    fault = world.server.faults.slow(600.0, "*relay_idds_command", command="submit")
    driver = await world.driver()
    [answer] = await driver.submit([order])
    assert isinstance(answer, Accepted)
    await until(lambda: world.requests_of(order.key))
    assert world.record(order.key)["stage"] == "sending"
    kill_all_of(world, order.key)
    await driver.stop()
    world.server.faults.clear()
    assert fault.hits == 1

    after = await world.driver()
    assert await after.find([order.key]) == [Found(order.key, answer.ref)]
    ref = JobRef(order.key, answer.ref)
    last = (await seen_until(after, ref, lambda each: each.phase is Phase.DONE))[-1]
    await after.stop()
    assert last.outcome is not None
    assert last.outcome.ok, last.outcome.message
    assert len(world.requests_of(order.key)) == 1
    assert len(world.runs_of(order.key)) == 4


async def test_killed_while_building_the_graph_it_is_built_again(
    world: BpsWorld, driver: PandaDriver
) -> None:
    order = world.order("visit = 1001")
    [answer] = await driver.submit([order])
    await until(lambda: world.record(order.key).get("stage") == "graph")
    kill_all_of(world, order.key)
    ref = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    last = (await seen_until(driver, ref, lambda each: each.phase is Phase.DONE))[-1]
    assert last.outcome is not None
    assert last.outcome.ok, last.outcome.message
    assert len(world.requests_of(order.key)) == 1


def kill_all_of(world: BpsWorld, key: str) -> None:
    """Kill whatever works on an attempt."""
    with contextlib.suppress(ValueError, ProcessLookupError):
        os.kill(int((world.directory(key) / "lock").read_text()), signal.SIGKILL)


async def test_cancelled_at_panda_the_quanta_so_far_count(
    world: BpsWorld, driver: PandaDriver
) -> None:
    order = world.order()
    tasks = f"{request_name(order.key, 'cmd')}_*"
    rule = world.server.pilot.hold("*_1002*", at="activated", tasks=tasks)
    [answer] = await driver.submit([order])
    ref = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    await seen_until(driver, ref, lambda each: bool(each.progress and each.progress.done == 2))
    [told] = await driver.cancel([ref])
    assert told.done
    last = (await seen_until(driver, ref, lambda each: each.phase is Phase.DONE))[-1]
    world.server.pilot.rules.remove(rule)
    assert last.outcome is not None
    assert not last.outcome.ok
    assert last.outcome.message.startswith("cancelled")
    [count] = last.outcome.quanta.values()
    assert (count.expected, count.successful) == (4, 2)
    [request] = world.requests_of(order.key)
    assert request.status == "Cancelled"


async def test_cancelled_at_the_facility_panda_hears_nothing(
    world: BpsWorld, driver: PandaDriver
) -> None:
    world.server.faults.errors("*relay_idds_command", 503, command="get_request_id_by_name")
    order = world.order()
    [answer] = await driver.submit([order])
    ref = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    seen = await seen_until(
        driver, ref, lambda each: bool(each.progress and "iDDS" in each.progress.note)
    )
    assert seen[-1].phase is Phase.RUNNING
    assert (await driver.cancel([ref]))[0].done
    world.server.faults.clear()
    last = (await seen_until(driver, ref, lambda each: each.phase is Phase.DONE))[-1]
    assert last.outcome is not None
    assert "before PanDA" in last.outcome.message
    assert world.requests_of(order.key) == []


async def test_what_cannot_be_built_is_told_as_by_the_local_driver(
    world: BpsWorld, driver: PandaDriver
) -> None:
    nothing, no_input = world.order("visit = 4711"), world.order()
    no_input = replace(no_input, inputs=("DemoCam/nowhere",))
    empty, missing = await asyncio.gather(done(driver, nothing), done(driver, no_input))
    for outcome in (empty, missing):
        assert not outcome.ok
        assert outcome.error_class == "Permanent"
        assert outcome.failures == (Failure(message=outcome.message, exit=2),)
    assert "is empty: no data match" in empty.message
    assert "Input collections do not exist" in missing.message
