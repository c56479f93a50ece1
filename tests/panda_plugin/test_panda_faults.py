"""What goes wrong at a PanDA server, each fault for itself, with the real driver."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from panda_place import PandaPlace

from cmd_daemon.hooks import (
    Accepted,
    DriverError,
    ErrorClass,
    JobRef,
    Observation,
    Outcome,
    Phase,
    Refused,
)
from cmd_panda.driver import PandaDriver
from cmd_panda.faults import PandaFault


@pytest.fixture
async def driver(still: PandaPlace) -> AsyncIterator[PandaDriver]:
    made = await still.driver()
    yield made
    await made.stop()


async def submitted(place: PandaPlace, driver: PandaDriver, script: str = "true\ntrue\n") -> JobRef:
    (answer,) = await driver.submit([order := place.order(script)])
    assert isinstance(answer, Accepted), answer
    return JobRef(order.key, answer.ref)


async def one(driver: PandaDriver, ref: JobRef) -> Observation:
    (seen,) = await driver.observe([ref])
    return seen


async def ended(place: PandaPlace, driver: PandaDriver, ref: JobRef, after: float) -> Outcome:
    place.advance(after)
    seen = await one(driver, ref)
    assert seen.outcome is not None, seen
    return seen.outcome


def task_of(place: PandaPlace, ref: JobRef) -> int:
    return int(ref.ref.partition(":")[2])


# ---- the server


async def test_an_old_server_is_refused_at_the_start(still: PandaPlace) -> None:
    text = "ERROR : method is_alive is forbidden"
    still.server.faults.errors("*/system/is_alive", 403, text, times=None)
    with pytest.raises(DriverError, match=r"no API v1: PanDA 1\.0 or newer is needed") as caught:
        await still.driver()
    assert caught.value.error_class is ErrorClass.PERMANENT


async def test_an_account_without_the_role_is_refused_at_the_start(still: PandaPlace) -> None:
    still.token_file.write_text(still.server.user_token())
    with pytest.raises(PandaFault, match="Not a member") as caught:
        await still.driver()
    assert "origin" in str(caught.value)


async def test_a_server_that_is_down_for_a_minute_costs_nothing(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = await submitted(still, driver)
    still.server.pilot.hold()
    still.advance(5)
    await asyncio.to_thread(still.server.stop)
    still.advance(60)
    with pytest.raises(DriverError) as caught:
        await driver.observe([ref])
    assert caught.value.error_class is ErrorClass.TRANSIENT
    (answer,) = await driver.submit([order := still.order()])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.TRANSIENT
    (cancelled,) = await driver.cancel([ref])
    assert not cancelled.done
    assert "cannot be reached" in cancelled.message
    await asyncio.to_thread(still.server.start)
    assert isinstance((await driver.submit([order]))[0], Accepted)
    assert (await one(driver, ref)).phase is Phase.RUNNING
    outcome = await ended(still, driver, ref, 200)
    assert "cancelled" in outcome.message, "it is remembered and said again"


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_errors_of_a_look_are_passing(
    still: PandaPlace, driver: PandaDriver, status: int
) -> None:
    ref = await submitted(still, driver)
    still.server.faults.errors("*/get_tasks_detailed_info_since", status)
    with pytest.raises(DriverError) as caught:
        await one(driver, ref)
    assert caught.value.error_class is ErrorClass.TRANSIENT
    assert (await one(driver, ref)).phase is Phase.QUEUED


@pytest.mark.parametrize("made", [True, False])
async def test_a_500_to_a_submission_leaves_it_open(
    still: PandaPlace, driver: PandaDriver, made: bool
) -> None:
    still.earlier_task()
    still.advance(60)
    order = still.order()
    still.server.faults.errors("*/task/submit", 500, made=made)
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.UNKNOWN
    await driver.find([order.key])
    still.advance(61)
    await driver.find([order.key])
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Accepted)
    assert len(still.tasks_named(order.key)) == 1


async def test_an_answer_that_comes_too_late_is_lost(still: PandaPlace) -> None:
    still.earlier_task()
    still.advance(60)
    driver = await still.driver(timeout_s=1.0)
    still.server.faults.slow(1.5, "*/task/submit")
    (answer,) = await driver.submit([order := still.order()])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.UNKNOWN
    (found,) = await driver.find([order.key])
    assert type(found).__name__ == "Found"
    await driver.stop()


async def test_too_many_tasks_wait_for_room(still: PandaPlace, driver: PandaDriver) -> None:
    still.server.world.max_active_tasks = 0
    await submitted(still, driver)
    still.advance(5)
    (answer,) = await driver.submit([still.order()])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.NOT_YET
    assert "Too many active tasks" in answer.message


# ---- the credential


async def test_an_expired_token_amid_a_campaign_holds_work_until_a_new_one_is_there(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = await submitted(still, driver)
    still.server.faults.void_tokens()
    still.advance(120)
    with pytest.raises(DriverError) as caught:
        await one(driver, ref)
    assert caught.value.error_class is ErrorClass.NOT_YET
    (answer,) = await driver.submit([order := still.order()])
    assert isinstance(answer, Refused)
    assert answer.error_class is ErrorClass.NOT_YET, "it counts nothing"
    still.write_token()
    assert isinstance((await driver.submit([order]))[0], Accepted)
    assert (await ended(still, driver, ref, 60)).ok


# ---- tasks


async def test_a_task_that_vanished_is_gone(still: PandaPlace) -> None:
    driver = await still.driver(lost_s=3600, refine_s=600)
    ref = await submitted(still, driver)
    still.forget_everything()
    assert (await one(driver, ref)).phase is Phase.QUEUED, "it may be refined yet"
    still.advance(900)
    assert "not refined" in (await one(driver, ref)).message
    still.advance(3000)
    seen = await one(driver, ref)
    assert seen.phase is Phase.GONE
    assert "no task" in seen.message
    await driver.stop()


async def test_a_task_that_was_seen_and_vanished_is_gone_too(still: PandaPlace) -> None:
    driver = await still.driver(sweep_s=1800)
    ref = await submitted(still, driver)
    still.server.pilot.hold()
    still.advance(60)
    assert (await one(driver, ref)).phase is Phase.RUNNING
    still.forget_everything()
    still.advance(3600)
    seen = await one(driver, ref)
    assert seen.phase is Phase.GONE
    await driver.stop()


async def test_a_task_that_jedi_never_refines_is_not_gone(still: PandaPlace) -> None:
    still.server.world.pace.refine = 100_000
    driver = await still.driver(lost_s=3600, refine_s=600)
    ref = await submitted(still, driver)
    still.advance(2 * 3600)
    seen = await one(driver, ref)
    assert seen.phase is Phase.QUEUED
    assert "not refined for 2.0 hours: is JEDI at work" in seen.message
    await driver.stop()


async def test_when_jedi_stands_still_few_questions_are_asked(still: PandaPlace) -> None:
    still.server.world.pace.refine = 100_000
    driver = await still.driver(refine_s=600)
    answers = await driver.submit(orders := [still.order() for _ in range(60)])
    refs = [JobRef(o.key, a.ref) for o, a in zip(orders, answers, strict=True)]  # type: ignore[union-attr]
    still.advance(1200)
    before = len(still.asked())
    seen = await driver.observe(refs)
    assert {each.phase for each in seen} == {Phase.QUEUED}
    assert len(still.asked()) - before == 21
    await driver.stop()


async def test_a_parked_task_is_ended_and_a_person_decides(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = await submitted(still, driver)
    still.server.faults.stick("*", "exhausted")
    still.advance(60)
    seen = await one(driver, ref)
    assert (seen.phase, seen.outcome) == (Phase.RUNNING, None)
    assert "a person must decide" in seen.message
    outcome = await ended(still, driver, ref, 120)
    assert not outcome.ok
    assert outcome.error_class is ErrorClass.PERMANENT, "no retry by itself"
    assert "parked" in outcome.message


async def test_a_failed_task_tells_its_jobs_error_its_exit_and_what_to_do(
    still: PandaPlace, driver: PandaDriver
) -> None:
    still.server.pilot.fail("*", 1212, "Payload ran out of memory", exit_code=137)
    ref = await submitted(still, driver)
    outcome = await ended(still, driver, ref, 200)
    assert (outcome.ok, outcome.exit_code) == (False, 137)
    assert outcome.error_class is ErrorClass.TRANSIENT
    (failure,) = outcome.failures
    assert "pilot 1212 (out of memory): Payload ran out of memory" in failure.message
    assert "ask for more memory" in failure.message
    assert "SLAC_Rubin" in failure.message


async def test_a_success_in_part_is_none(still: PandaPlace, driver: PandaDriver) -> None:
    order = still.order()
    task = still.submit_outside(order, nFiles=2, pfnList=["good", "bad"])
    still.server.pilot.fail("bad")
    outcome = await ended(still, driver, JobRef(order.key, f"task:{task}"), 200)
    assert not outcome.ok
    assert "is finished; 1 of 2 files finished, 1 failed" in outcome.message


async def test_a_task_that_panda_does_not_accept_ends_the_retries(
    still: PandaPlace, driver: PandaDriver
) -> None:
    order = still.order()
    task = still.submit_outside(order, jobParameters=None)
    with still.server.world.lock:
        del still.server.world.tasks[task].parameters["jobParameters"]
    outcome = await ended(still, driver, JobRef(order.key, f"task:{task}"), 60)
    assert outcome.error_class is ErrorClass.PERMANENT
    assert "does not accept" in outcome.message
    assert "jobParameters" in outcome.message


async def test_a_task_that_somebody_else_aborted_is_no_cancel_of_ours(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = await submitted(still, driver)
    still.server.pilot.hold()
    still.advance(30)
    await driver._shared().server.kill(task_of(still, ref))
    outcome = await ended(still, driver, ref, 300)
    assert "not by this daemon" in outcome.message
    assert not outcome.ok


async def test_many_failures_are_asked_about_some_at_a_time(still: PandaPlace) -> None:
    driver = await still.driver()
    still.server.pilot.fail("*")
    orders = [still.order() for _ in range(50)]
    refs = [JobRef(order.key, f"task:{still.submit_outside(order)}") for order in orders]
    still.advance(300)
    done = []
    for _ in range(4):
        before = len(still.asked())
        done.append(sum(each.outcome is not None for each in await driver.observe(refs)))
        assert len(still.asked()) - before <= 21
    assert done == [20, 40, 50, 50]
    await driver.stop()


async def test_an_outcome_stays_though_the_task_is_taken_up_again_outside(
    still: PandaPlace, driver: PandaDriver
) -> None:
    still.server.pilot.fail("*", times=1)
    ref = await submitted(still, driver)
    before = await ended(still, driver, ref, 200)
    assert not before.ok
    with still.server.world.lock:
        still.server.world.tasks[task_of(still, ref)].status = "done"
    assert await ended(still, driver, ref, 60) == before


# ---- cancelling


async def test_a_kill_before_refinement_is_said_again(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = await submitted(still, driver)
    still.server.pilot.hold()
    (answer,) = await driver.cancel([ref])
    assert answer.done
    assert still.asked(lambda each: "kill" in each)
    still.advance(10)
    await one(driver, ref)
    outcome = await ended(still, driver, ref, 300)
    assert "cancelled" in outcome.message


async def test_a_kill_that_was_overwritten_is_said_again(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = await submitted(still, driver)
    still.server.pilot.hold()
    still.advance(10)
    await driver.cancel([ref])
    await driver._shared().server.pause(task_of(still, ref))
    still.advance(60)
    seen = await one(driver, ref)
    assert "paused" in seen.message
    still.advance(301)
    await one(driver, ref)
    outcome = await ended(still, driver, ref, 300)
    assert "cancelled" in outcome.message


async def test_a_cancel_outlives_the_daemon(still: PandaPlace) -> None:
    driver = await still.driver()
    ref = await submitted(still, driver)
    still.server.pilot.hold()
    await driver.cancel([ref])
    await driver.stop()
    again = await still.driver()
    still.advance(10)
    await one(again, ref)
    assert "cancelled" in (await ended(still, again, ref, 300)).message
    await again.stop()
