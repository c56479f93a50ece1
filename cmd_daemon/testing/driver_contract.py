"""The contract every driver keeps, as tests that a plugin author subclasses.

    class TestMyDriver(DriverContract):
        @pytest.fixture(autouse=True)
        def outside(self, tmp_path): self.world = start_my_system(tmp_path)

        async def make_driver(self): ...
        def orders(self, n): ...
        def long_orders(self, n): ...
        def ledger(self): ...

The outside world belongs to the test and outlives the drivers made over it. A fault that cannot
be injected there is skipped with that reason in the report; so are the tests of commands for a driver
that takes none. Needs pytest-asyncio.
"""

import asyncio
from collections.abc import Sequence

import pytest

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    Driver,
    DriverError,
    ErrorClass,
    Found,
    JobOrder,
    JobRef,
    Phase,
    Refused,
    Unclear,
)
from cmd_daemon.testing.contract_setup import (
    NOTHING,
    NotInjectable,
    outcomes,
    submitted,
    wait_until,
)
from cmd_daemon.testing.control_contract import ControlContract

__all__ = ["NOTHING", "DriverContract", "NotInjectable", "outcomes", "submitted", "wait_until"]


@pytest.mark.asyncio
class DriverContract(ControlContract):
    """Subclass it, implement the first four methods, and what faults you can inject."""

    async def test_orders_run_once_and_end_well(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(3)
            refs = await submitted(driver, orders)
            ended = await outcomes(driver, refs, self.deadline_s)
            assert all(outcome.ok for outcome in ended.values()), ended
            self._ran_once(orders)

    async def test_a_second_submit_is_the_same_attempt(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(2)
            first = await submitted(driver, orders)
            assert await submitted(driver, orders) == first
            await outcomes(driver, first, self.deadline_s)
            assert await submitted(driver, orders) == first, "after the end"
            self._ran_once(orders)

    async def test_two_submits_at_once_are_one_attempt(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(2)
            one, two = await asyncio.gather(submitted(driver, orders), submitted(driver, orders))
            assert one == two
            await outcomes(driver, one, self.deadline_s)
            self._ran_once(orders)

    async def test_crash_after_submit(self) -> None:
        async with self._drivers() as made:
            orders = self.orders(2)
            refs = await submitted(await self._another(made), orders)
            # The daemon dies before the answer is committed: nobody remembers the references.
            driver = await self._another(made)
            keys = [order.key for order in orders]
            found = {answer.key: answer for answer in await driver.find(keys)}
            assert found == {ref.key: Found(ref.key, ref.ref) for ref in refs}
            assert await submitted(driver, orders) == refs
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(orders)

    async def test_find_says_absent_for_what_never_was(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            assert list(await driver.find([NOTHING])) == [Absent(NOTHING)]
            assert self.ledger().get(NOTHING, 0) == 0

    async def test_a_refused_order_leaves_the_others_alone(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(3)
            bad = orders[1]
            with self._fault("fail_some", [bad.key]):
                answers = {answer.key: answer for answer in await driver.submit(orders)}
            refusal = answers[bad.key]
            assert isinstance(refusal, Refused)
            assert refusal.message, "a refusal says why"
            good = [order for order in orders if order is not bad]
            refs = await submitted(driver, good)
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(good)
            if refusal.error_class is not ErrorClass.UNKNOWN:
                assert list(await driver.find([bad.key])) == [Absent(bad.key)]
                assert self.ledger().get(bad.key, 0) == 0

    async def test_observing_the_unknown_is_gone(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            (seen,) = await driver.observe([JobRef(NOTHING, "no-such-reference")])
            assert (seen.key, seen.phase, seen.outcome) == (NOTHING, Phase.GONE, None)

    async def test_an_outcome_is_there_only_when_done(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            refs = await submitted(driver, self._long(1))
            seen = await wait_until(driver, refs, {Phase.RUNNING}, self.deadline_s)
            assert seen[refs[0].key].outcome is None
            await driver.cancel(refs)
            await outcomes(driver, refs, self.deadline_s)

    async def test_cancel_twice(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            refs = await submitted(driver, self._long(2))
            for _ in range(2):
                answers = await driver.cancel(refs)
                assert {answer.key for answer in answers} == {ref.key for ref in refs}
                assert all(answer.done for answer in answers), answers
            ended = await outcomes(driver, refs, self.deadline_s)
            assert not any(outcome.ok for outcome in ended.values()), ended
            assert all(answer.done for answer in await driver.cancel(refs))

    async def test_cancelling_what_is_over_changes_nothing(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            refs = await submitted(driver, self.orders(1))
            before = await outcomes(driver, refs, self.deadline_s)
            (answer,) = await driver.cancel(refs)
            assert answer.done
            assert await outcomes(driver, refs, self.deadline_s) == before

    async def test_a_cancelled_attempt_is_not_started_again(self) -> None:
        async with self._drivers() as made:
            orders = self._long(1)
            driver = await self._another(made)
            refs = await submitted(driver, orders)
            await driver.cancel(refs)
            await outcomes(driver, refs, self.deadline_s)
            driver = await self._another(made)
            assert await submitted(driver, orders) == refs
            ended = await outcomes(driver, refs, self.deadline_s)
            assert not ended[refs[0].key].ok
            assert self.ledger().get(refs[0].key, 0) <= 1

    async def test_outcomes_are_the_same_after_a_restart(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            refs = await submitted(driver, self.orders(2))
            before = await outcomes(driver, refs, self.deadline_s)
            again = await self._another(made)
            assert await outcomes(again, refs, self.deadline_s) == before

    async def test_a_running_attempt_is_adopted(self) -> None:
        async with self._drivers() as made:
            orders = self._long(1)
            refs = await submitted(await self._another(made), orders)
            driver = await self._another(made)
            await wait_until(driver, refs, {Phase.RUNNING}, self.deadline_s)
            await driver.cancel(refs)
            await outcomes(driver, refs, self.deadline_s)
            # A cancel may come before the work itself began.
            assert self.ledger().get(orders[0].key, 0) <= 1

    async def test_answers_are_for_what_was_asked(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            asked, other = self.orders(2)
            refs = await submitted(driver, [asked, other])
            one = [ref for ref in refs if ref.key == asked.key]
            assert [answer.key for answer in await driver.submit([asked])] == [asked.key]
            assert [answer.key for answer in await driver.find([asked.key])] == [asked.key]
            assert [answer.key for answer in await driver.observe(one)] == [asked.key]
            assert [answer.key for answer in await driver.cancel(one)] == [asked.key]
            await outcomes(driver, refs, self.deadline_s)

    async def test_empty_sets(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            assert list(await driver.submit([])) == []
            assert list(await driver.find([])) == []
            assert list(await driver.observe([])) == []
            assert list(await driver.cancel([])) == []

    async def test_an_unknown_part_has_no_log(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            refs = await submitted(driver, self.orders(1))
            with pytest.raises(DriverError) as caught:
                async for _ in driver.read_log(refs[0], "no-such-part", 0, follow=False):
                    pass
            assert caught.value.error_class is ErrorClass.PERMANENT
            await outcomes(driver, refs, self.deadline_s)

    async def test_logs_are_followed_to_their_end(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            refs = await submitted(driver, self.orders(1))
            parts = [part for part in await driver.inspect(refs[0]) if part.log]
            await outcomes(driver, refs, self.deadline_s)
            parts = [part for part in await driver.inspect(refs[0]) if part.log] or parts
            for part in parts:
                offset, ended = 0, False
                async with asyncio.timeout(self.deadline_s):
                    async for chunk in driver.read_log(refs[0], part.name, 0, follow=True):
                        assert not ended, "nothing comes after the end"
                        assert chunk.offset == offset, "chunks follow each other"
                        offset += len(chunk.data)
                        ended = chunk.end
                assert ended, f"the log {part.name} of a finished attempt has an end"

    async def test_a_deadline_in_the_middle_does_no_harm(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(3)
            for pause in (0.0, 0.001, 0.005):
                call = asyncio.ensure_future(driver.submit(orders))
                await asyncio.sleep(pause)
                call.cancel()
                await asyncio.wait([call])
            keys = [order.key for order in orders]
            for answer in await driver.find(keys):
                assert not isinstance(answer, Unclear), answer
            refs = await submitted(driver, orders)
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(orders)

    async def test_stop_and_start_again(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(2)
            refs = await submitted(driver, orders)
            await driver.stop()
            await driver.start()
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(orders)

    async def test_lost_answers_are_found_again(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(2)
            with self._fault("lose_answers"):
                answers = await _submit(driver, orders, {ErrorClass.UNKNOWN})
            for refused in answers:
                assert isinstance(refused, Refused), refused
                assert refused.error_class is ErrorClass.UNKNOWN, refused
            for found in await driver.find([order.key for order in orders]):
                assert isinstance(found, Found), found
            refs = await submitted(driver, orders)
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(orders)

    async def test_slow_calls_do_not_stop_the_loop(self) -> None:
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(1)
            with self._fault("slow"):
                call = asyncio.create_task(submitted(driver, orders))
                for _ in range(5):
                    await asyncio.sleep(0)
                assert not call.done(), "the call gives way while it waits"
                refs = await call
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(orders)

    async def test_throttled_work_is_not_lost(self) -> None:
        patient = {ErrorClass.TRANSIENT, ErrorClass.NOT_YET}
        async with self._drivers() as made:
            driver = await self._another(made)
            orders = self.orders(2)
            with self._fault("throttle"):
                answers = await _submit(driver, orders, patient)
            for answer in answers:
                assert isinstance(answer, Refused), answer
                assert answer.error_class in patient, answer
            assert not any(self.ledger().get(order.key, 0) for order in orders)
            refs = await submitted(driver, orders)
            await outcomes(driver, refs, self.deadline_s)
            self._ran_once(orders)


async def _submit(
    driver: Driver, orders: Sequence[JobOrder], allowed: set[ErrorClass]
) -> Sequence[Accepted | Refused]:
    """Submit where the whole call may fail with one of these classes: then no answers."""
    try:
        return await driver.submit(orders)
    except DriverError as error:
        if error.error_class not in allowed:
            pytest.fail(f"the call failed as {error.error_class}: {error}")
    return []
