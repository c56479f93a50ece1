"""The contract of drivers that take commands, as tests: part of `DriverContract`, skipped for others."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

import pytest

from cmd_daemon.hooks import (
    Command,
    Control,
    ControlAnswer,
    Controllable,
    Driver,
    DriverError,
    ErrorClass,
    JobRef,
    Phase,
)
from cmd_daemon.testing.contract_setup import NOTHING, ContractSetup, outcomes, submitted

OUTSIDE = {Phase.QUEUED, Phase.RUNNING}


class Commanded(Driver, Controllable, Protocol):
    """A driver that takes commands."""


def controls(
    refs: Sequence[JobRef], command: Command, value: int | str | None = None
) -> list[Control]:
    """One command to several attempts."""
    return [Control(ref.key, ref.ref, command, value) for ref in refs]


async def obeyed(
    driver: Commanded,
    refs: Sequence[JobRef],
    command: Command,
    deadline_s: float,
    value: int | str | None = None,
) -> None:
    """Say a command until it is done for each attempt; fails at a refusal and at the deadline."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    while True:
        answers = {a.key: a for a in await driver.control(controls(refs, command, value))}
        if all(ref.key in answers and answers[ref.key].done for ref in refs):
            return
        for answer in answers.values():
            refused = not answer.done and answer.error_class is ErrorClass.PERMANENT
            assert not refused, f"{command} was refused: {answer.message}"
        if loop.time() > give_up_at:
            pytest.fail(f"{command} not done after {deadline_s} s: {list(answers.values())}")
        await asyncio.sleep(min(0.05, driver.poll_s))


async def _said(
    driver: Commanded, wanted: Sequence[Control], allowed: set[ErrorClass]
) -> Sequence[ControlAnswer]:
    """Say commands where the whole call may fail with one of these classes: then no answers."""
    try:
        return await driver.control(wanted)
    except DriverError as error:
        if error.error_class not in allowed:
            pytest.fail(f"the call failed as {error.error_class}: {error}")
    return []


def _done(answers: Sequence[ControlAnswer], refs: Sequence[JobRef]) -> None:
    assert {answer.key for answer in answers} == {ref.key for ref in refs}
    assert all(answer.done for answer in answers), answers


class ControlContract(ContractSetup):
    """What a `Controllable` driver promises."""

    async def _commanded(self, made: list[Driver], *needed: Command) -> Commanded:
        driver = await self._another(made)
        if not isinstance(driver, Controllable) or not driver.commands:
            pytest.skip("the driver takes no commands")
        if lacking := set(needed) - driver.commands:
            pytest.skip(f"the driver does not take {', '.join(sorted(lacking))}")
        return cast(Commanded, driver)

    async def _end(self, driver: Driver, refs: Sequence[JobRef]) -> None:
        await driver.cancel(refs)
        await outcomes(driver, refs, self.deadline_s)

    async def test_whoever_can_pause_can_resume(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made)
            assert (Command.PAUSE in driver.commands) == (Command.RESUME in driver.commands)

    async def test_paused_twice_is_paused_and_can_be_cancelled(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            orders = self._long(2)
            refs = await submitted(driver, orders)
            await obeyed(driver, refs, Command.PAUSE, self.deadline_s)
            _done(await driver.control(controls(refs, Command.PAUSE)), refs)
            assert {seen.phase for seen in await driver.observe(refs)} <= OUTSIDE
            await driver.cancel(refs)
            ended = await outcomes(driver, refs, self.deadline_s)
            assert not any(outcome.ok for outcome in ended.values()), ended
            assert all(self.ledger().get(order.key, 0) <= 1 for order in orders)

    async def test_a_paused_attempt_goes_on_to_its_end(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            orders = self.orders(2)
            refs = await submitted(driver, orders)
            await obeyed(driver, refs, Command.PAUSE, self.deadline_s)
            await obeyed(driver, refs, Command.RESUME, self.deadline_s)
            ended = await outcomes(driver, refs, self.deadline_s)
            assert all(outcome.ok for outcome in ended.values()), ended
            self._ran_once(orders)

    async def test_paused_and_resumed_again_and_again(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            refs = await submitted(driver, self._long(1))
            for command in (Command.RESUME, *(Command.PAUSE, Command.RESUME) * 2):
                await obeyed(driver, refs, command, self.deadline_s)
                _done(await driver.control(controls(refs, command)), refs)
            assert {seen.phase for seen in await driver.observe(refs)} <= OUTSIDE
            await self._end(driver, refs)

    async def test_a_pause_outlives_the_driver(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            refs = await submitted(driver, self._long(1))
            await obeyed(driver, refs, Command.PAUSE, self.deadline_s)
            driver = await self._commanded(made, Command.PAUSE)
            _done(await driver.control(controls(refs, Command.PAUSE)), refs)
            await obeyed(driver, refs, Command.RESUME, self.deadline_s)
            await self._end(driver, refs)

    async def test_paused_then_over(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            refs = await submitted(driver, self._long(1))
            await obeyed(driver, refs, Command.PAUSE, self.deadline_s)
            await driver.cancel(refs)
            before = await outcomes(driver, refs, self.deadline_s)
            for command in (Command.PAUSE, Command.RESUME):
                _done(await driver.control(controls(refs, command)), refs)
            assert await outcomes(driver, refs, self.deadline_s) == before

    async def test_commands_to_what_is_over_change_nothing(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made)
            orders = self.orders(1)
            refs = await submitted(driver, orders)
            before = await outcomes(driver, refs, self.deadline_s)
            for command in sorted(self.commands_taken(driver.commands)):
                value = self.command_values().get(command)
                _done(await driver.control(controls(refs, command, value)), refs)
            assert await outcomes(driver, refs, self.deadline_s) == before
            self._ran_once(orders)

    async def test_commands_to_the_unknown_are_done_or_refused(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made)
            unknown = [JobRef(NOTHING, "no-such-reference")]
            for command in sorted(driver.commands):
                value = self.command_values().get(command)
                (answer,) = await driver.control(controls(unknown, command, value))
                assert answer.key == NOTHING
                if not answer.done:
                    assert answer.error_class is ErrorClass.PERMANENT, answer
                    assert answer.message, "a refusal says why"
            assert self.ledger().get(NOTHING, 0) == 0

    async def test_each_value_is_taken_and_may_be_said_twice(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made)
            values = self.command_values()
            taking = self.commands_taken(driver.commands) - {Command.PAUSE, Command.RESUME}
            assert values.keys() == taking, "command_values() has one for each command with a value"
            refs = await submitted(driver, self._long(1))
            for command, value in values.items():
                await obeyed(driver, refs, command, self.deadline_s, value)
                _done(await driver.control(controls(refs, command, value)), refs)
            await self._end(driver, refs)

    async def test_commands_that_are_not_taken_are_refused_for_good(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made)
            refused = sorted(driver.commands - self.commands_taken(driver.commands))
            if not refused:
                pytest.skip("the driver takes every command that it offers")
            refs = await submitted(driver, self._long(1))
            for command in refused:
                (answer,) = await driver.control(controls(refs, command, 1))
                assert (answer.done, answer.error_class) == (False, ErrorClass.PERMANENT), answer
                assert str(command) in answer.message, answer
            await self._end(driver, refs)

    async def test_commands_are_answered_for_what_was_asked(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            assert list(await driver.control([])) == []
            refs = await submitted(driver, self._long(2))
            (answer,) = await driver.control(controls(refs[:1], Command.RESUME))
            assert answer.key == refs[0].key
            await self._end(driver, refs)

    async def test_a_lost_answer_to_a_command_does_no_harm(self) -> None:
        async with self._drivers() as made:
            driver = await self._commanded(made, Command.PAUSE)
            refs = await submitted(driver, self._long(1))
            pause = controls(refs, Command.PAUSE)
            with self._fault("lose_answers"):
                for answer in await _said(
                    driver, pause, {ErrorClass.UNKNOWN, ErrorClass.TRANSIENT}
                ):
                    refused = not answer.done and answer.error_class is ErrorClass.PERMANENT
                    assert not refused, answer
            await obeyed(driver, refs, Command.PAUSE, self.deadline_s)
            await obeyed(driver, refs, Command.RESUME, self.deadline_s)
            await self._end(driver, refs)
