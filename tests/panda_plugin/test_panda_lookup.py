"""A submission whose answer was lost is looked for before it is said again: nothing lost, nothing twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from panda_place import PandaPlace

from cmd_daemon.hooks import Absent, Accepted, ErrorClass, Found, JobRef, Phase, Refused, Unclear
from cmd_panda.driver import PandaDriver

SUBMIT = "*/task/submit"


@pytest.fixture
async def driver(still: PandaPlace) -> AsyncIterator[PandaDriver]:
    made = await still.driver()
    yield made
    await made.stop()


def refused(answers: object) -> Refused:
    assert isinstance(answers, list | tuple)
    (answer,) = answers
    assert isinstance(answer, Refused), answer
    return answer


async def test_a_task_that_is_not_refined_is_found_by_its_id(
    still: PandaPlace, driver: PandaDriver
) -> None:
    still.earlier_task()
    still.advance(60)
    order = still.order()
    still.server.faults.lose_answers(SUBMIT)
    assert refused(await driver.submit([order])).error_class is ErrorClass.UNKNOWN
    (task,) = still.tasks_named(order.key)
    assert not task.visible, "its name finds nothing yet"
    assert list(await driver.find([order.key])) == [Found(order.key, f"task:{task.id}")]
    assert list(await driver.submit([order])) == [Accepted(order.key, f"task:{task.id}")]
    assert len(still.tasks_named(order.key)) == 1


async def test_other_peoples_tasks_may_stand_between(
    still: PandaPlace, driver: PandaDriver
) -> None:
    still.earlier_task()
    still.advance(60)
    orders = [still.order() for _ in range(3)]
    still.server.faults.lose_answers(SUBMIT, times=None)
    for order in orders:
        for _ in range(12):
            still.earlier_task()
        assert refused(await driver.submit([order])).error_class is ErrorClass.UNKNOWN
    found = await driver.find([order.key for order in orders])
    assert all(isinstance(each, Found) for each in found), found


async def test_a_refined_task_is_found_by_its_name(still: PandaPlace, driver: PandaDriver) -> None:
    order = still.order()
    still.server.faults.lose_answers(SUBMIT)
    await driver.submit([order])
    still.advance(5)
    (task,) = still.tasks_named(order.key)
    assert task.visible
    assert list(await driver.find([order.key])) == [Found(order.key, f"task:{task.id}")]


async def test_it_is_unclear_until_the_call_can_not_arrive_any_more(
    still: PandaPlace, driver: PandaDriver
) -> None:
    order = still.order()
    dropped = still.server.faults.drop(SUBMIT, times=None)
    assert refused(await driver.submit([order])).error_class is ErrorClass.UNKNOWN
    (unclear,) = await driver.find([order.key])
    assert isinstance(unclear, Unclear)
    assert "60 s more" in unclear.message
    waits = refused(await driver.submit([order]))
    assert waits.error_class is ErrorClass.NOT_YET
    assert "may still arrive" in waits.message
    still.advance(61)
    assert list(await driver.find([order.key])) == [Absent(order.key)]
    still.server.faults.remove(dropped)
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Accepted)
    assert len(still.tasks_named(order.key)) == 1


async def test_said_absent_and_there_all_the_same_it_is_adopted_and_not_made_twice(
    still: PandaPlace, driver: PandaDriver
) -> None:
    """JEDI stands still, and no older task of ours tells where the ids are: it can't be seen."""
    still.server.world.pace.refine = 10_000
    order = still.order()
    still.server.faults.lose_answers(SUBMIT)
    await driver.submit([order])
    still.advance(61)
    assert list(await driver.find([order.key])) == [Absent(order.key)]
    (task,) = still.tasks_named(order.key)
    assert list(await driver.submit([order])) == [Accepted(order.key, f"task:{task.id}")]
    assert still.tasks_named(order.key) == [task], (
        "its unique name has kept it from being made twice"
    )


async def test_what_was_never_sent_is_absent_at_once(
    still: PandaPlace, driver: PandaDriver
) -> None:
    order = still.order()
    assert list(await driver.find([order.key])) == [Absent(order.key)]


async def test_without_its_own_records_a_daemon_finds_what_is_refined(
    still: PandaPlace, driver: PandaDriver
) -> None:
    order = still.order()
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Accepted)
    still.advance(120)
    still.lose_state()
    other = await still.driver()
    assert list(await other.find([order.key])) == [Found(order.key, answer.ref)]
    assert list(await other.submit([order])) == [answer]
    (seen,) = await other.observe([JobRef(order.key, answer.ref)])
    assert seen.phase is Phase.DONE
    assert len(still.tasks_named(order.key)) == 1, "one that is over is not started again"
    await other.stop()


async def test_a_server_that_can_not_be_asked_makes_nothing_absent(
    still: PandaPlace, driver: PandaDriver
) -> None:
    order = still.order()
    await asyncio.to_thread(still.server.stop)
    answer = refused(await driver.submit([order]))
    assert answer.error_class is ErrorClass.TRANSIENT, "nothing was sent"
    with pytest.raises(Exception, match="cannot be reached") as caught:
        await driver.find([order.key])
    assert getattr(caught.value, "error_class", None) is ErrorClass.TRANSIENT
    await asyncio.to_thread(still.server.start)
    assert list(await driver.find([order.key])) == [Absent(order.key)]
    (accepted,) = await driver.submit([order])
    assert isinstance(accepted, Accepted)


async def test_of_two_tasks_of_one_name_the_older_is_adopted_and_the_other_told_of(
    still: PandaPlace, driver: PandaDriver, caplog: pytest.LogCaptureFixture, capfd: object
) -> None:
    order = still.order()
    first, second = still.submit_outside(order), still.submit_outside(order)
    still.advance(5)
    assert list(await driver.find([order.key])) == [Found(order.key, f"task:{first}")]
    out = capfd.readouterr()  # type: ignore[attr-defined]
    assert str(second) in out.out + out.err + caplog.text


async def test_the_rest_of_a_set_is_not_sent_to_a_server_that_takes_none(
    still: PandaPlace, driver: PandaDriver
) -> None:
    orders = [still.order() for _ in range(12)]
    still.server.faults.errors(SUBMIT, 503, "busy", times=None)
    answers = await driver.submit(orders)
    assert all(isinstance(each, Refused) for each in answers)
    assert {each.error_class for each in answers if isinstance(each, Refused)} == {
        ErrorClass.TRANSIENT
    }
    sent = still.asked(lambda each: each.endswith("/task/submit"))
    assert len(sent) <= 4, "one for each connection"
    assert [type(each) for each in await driver.find([orders[0].key])] == [Absent]
