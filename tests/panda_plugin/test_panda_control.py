"""Commands to tasks: one at a time, done when the task shows it, asked again when it does not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from panda_place import PandaPlace

from cmd_daemon.hooks import (
    Accepted,
    Command,
    Control,
    ControlAnswer,
    Controllable,
    ErrorClass,
    JobRef,
)
from cmd_panda.driver import PandaDriver

GIB = 1024**3


class Commanded:
    """A running attempt and commands to it."""

    def __init__(self, place: PandaPlace, driver: PandaDriver, ref: JobRef) -> None:
        self.place, self.driver, self.ref = place, driver, ref

    async def control(self, command: Command, value: int | str | None = None) -> ControlAnswer:
        control = Control(self.ref.key, self.ref.ref, command, value)
        (answer,) = await self.driver.control([control])
        return answer

    def sent(self, what: str) -> int:
        return len(self.place.asked(lambda each: each.endswith(f"/task/{what}")))

    @property
    def task(self) -> Any:
        return self.place.server.world.tasks[int(self.ref.ref.partition(":")[2])]


@pytest.fixture
async def running(still: PandaPlace) -> AsyncIterator[Commanded]:
    driver = await still.driver()
    still.server.pilot.hold()
    (answer,) = await driver.submit([order := still.order()])
    assert isinstance(answer, Accepted)
    still.advance(30)
    yield Commanded(still, driver, JobRef(order.key, answer.ref))
    await driver.stop()


def test_the_driver_can_be_commanded(still: PandaPlace) -> None:
    driver = PandaDriver(still.info("USDF"), still.settings(), still.host)
    assert isinstance(driver, Controllable)
    assert driver.commands == frozenset(Command)


@pytest.mark.parametrize(
    ("command", "value", "call"),
    [
        (Command.PAUSE, None, "pause"),
        (Command.PRIORITY, 700, "change_priority"),
        (Command.MEMORY, 3 * GIB, "change_attribute"),
        (Command.QUEUE, "LANCS_Rubin", "reassign"),
    ],
)
async def test_a_command_is_done_when_the_task_shows_it(
    running: Commanded, command: Command, value: int | str | None, call: str
) -> None:
    first = await running.control(command, value)
    assert (first.done, first.error_class) == (False, ErrorClass.NOT_YET)
    assert "not to be seen yet" in first.message
    running.place.advance(60)
    assert (await running.control(command, value)).done
    assert (await running.control(command, value)).done, "said twice it changes nothing more"
    assert running.sent(call) == 1


async def test_a_paused_task_is_resumed(running: Commanded) -> None:
    await running.control(Command.PAUSE)
    running.place.advance(60)
    assert (await running.control(Command.PAUSE)).done
    assert not (await running.control(Command.RESUME)).done
    running.place.advance(60)
    assert (await running.control(Command.RESUME)).done
    assert running.task.status == "running"


async def test_what_is_so_already_is_not_asked_for(running: Commanded) -> None:
    assert (await running.control(Command.RESUME)).done
    assert (await running.control(Command.QUEUE, "SLAC_Rubin")).done
    assert running.sent("resume") + running.sent("reassign") == 0


async def test_a_second_command_waits_for_the_first(running: Commanded) -> None:
    """PanDA keeps one command for a task: the second would overwrite it."""
    await running.control(Command.PAUSE)
    second = await running.control(Command.QUEUE, "LANCS_Rubin")
    assert second.error_class is ErrorClass.NOT_YET
    assert "asked to pause before" in second.message
    assert running.sent("reassign") == 0
    running.place.advance(60)
    assert (await running.control(Command.PAUSE)).done
    await running.control(Command.PRIORITY, 5)
    assert running.sent("change_priority") == 1


async def test_a_command_that_was_overwritten_is_asked_for_again(running: Commanded) -> None:
    await running.control(Command.PAUSE)
    running.task.command.due = None  # as a second hand's command does it
    running.place.advance(200)
    assert (await running.control(Command.PAUSE)).error_class is ErrorClass.NOT_YET
    assert running.sent("pause") == 1
    running.place.advance(150)
    await running.control(Command.PAUSE)
    assert running.sent("pause") == 2
    running.place.advance(60)
    assert (await running.control(Command.PAUSE)).done


async def test_after_its_deadline_a_command_is_given_up(still: PandaPlace) -> None:
    still.server.world.pace.command = 100_000
    still.server.pilot.hold()
    driver = await still.driver(confirm_s=600)
    (answer,) = await driver.submit([order := still.order()])
    assert isinstance(answer, Accepted)
    still.advance(30)
    running = Commanded(still, driver, JobRef(order.key, answer.ref))
    await running.control(Command.PAUSE)
    still.advance(601)
    late = await running.control(Command.PAUSE)
    assert (late.done, late.error_class) == (False, ErrorClass.TRANSIENT)
    assert "does not show 'pause' after 10 minutes" in late.message
    await driver.stop()


async def test_an_answer_that_was_lost_is_no_second_command(running: Commanded) -> None:
    running.place.server.faults.lose_answers("*/task/pause")
    lost = await running.control(Command.PAUSE)
    assert lost.error_class is ErrorClass.NOT_YET
    running.place.advance(60)
    assert (await running.control(Command.PAUSE)).done
    assert running.sent("pause") == 1


async def test_a_task_that_is_being_ended_is_never_paused(running: Commanded) -> None:
    """PanDA accepts it, and brings the task back."""
    await running.driver.cancel([running.ref])
    refused = await running.control(Command.PAUSE)
    assert (refused.done, refused.error_class) == (False, ErrorClass.PERMANENT)
    running.place.advance(60)
    assert running.task.status in ("aborting", "toabort", "aborted")
    assert running.sent("pause") == 0


async def test_another_hand_is_ending_it(running: Commanded) -> None:
    await running.driver._shared().server.kill(running.task.id)
    running.place.advance(14)
    assert running.task.status == "aborting"
    assert (await running.control(Command.PAUSE)).error_class is ErrorClass.PERMANENT
    assert running.sent("pause") == 0


async def test_an_attempt_that_is_over_needs_no_command(running: Commanded) -> None:
    running.place.server.pilot.rules.clear()
    await running.driver.cancel([running.ref])
    running.place.advance(120)
    await running.driver.observe([running.ref])
    assert (await running.control(Command.PAUSE)).done


async def test_a_queue_that_is_not_there_is_refused_by_us(running: Commanded) -> None:
    """PanDA would take any name."""
    refused = await running.control(Command.QUEUE, "NOWHERE")
    assert (refused.done, refused.error_class) == (False, ErrorClass.PERMANENT)
    assert "no queue 'NOWHERE'" in refused.message
    assert "LANCS_Rubin" in refused.message
    assert running.sent("reassign") == 0


async def test_memory_that_means_nothing_is_refused(running: Commanded) -> None:
    for value in (0, -1, "much"):
        refused = await running.control(Command.MEMORY, value)
        assert refused.error_class is ErrorClass.PERMANENT, value
    assert running.sent("change_attribute") == 0


async def test_a_task_that_is_not_refined_waits(still: PandaPlace) -> None:
    driver = await still.driver()
    (answer,) = await driver.submit([order := still.order()])
    assert isinstance(answer, Accepted)
    (told,) = await driver.control([Control(order.key, answer.ref, Command.PAUSE)])
    assert told.error_class is ErrorClass.NOT_YET
    await driver.stop()


async def test_without_the_role_a_command_is_refused_for_good(running: Commanded) -> None:
    text = '{"success": false, "message": "production or pilot role required", "data": null}'
    running.place.server.faults.errors("*/task/pause", 200, text)
    refused = await running.control(Command.PAUSE)
    assert refused.error_class is ErrorClass.PERMANENT
    assert "production role" in refused.message


async def test_a_stranger_is_no_task(still: PandaPlace) -> None:
    driver = await still.driver()
    (told,) = await driver.control([Control("a/b/c/d#1", "nonsense", Command.PAUSE)])
    assert (told.done, told.error_class) == (False, ErrorClass.PERMANENT)
    await driver.stop()
