"""What the contract of drivers is tested with: the outside world of a test, and waits with deadlines."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager

import pytest

from cmd_daemon.hooks import (
    Accepted,
    Command,
    Driver,
    JobOrder,
    JobRef,
    Observation,
    Outcome,
    Phase,
)

NOTHING = "campaigns-never-made/step/group/job#1"


class NotInjectable(Exception):
    """This fault cannot be injected into the outside world at hand."""


async def submitted(driver: Driver, orders: Sequence[JobOrder]) -> list[JobRef]:
    """Submit orders that must all be accepted; their references, in the orders' sequence."""
    answers = {answer.key: answer for answer in await driver.submit(orders)}
    refs = []
    for order in orders:
        answer = answers.get(order.key)
        assert isinstance(answer, Accepted), f"not accepted: {answer}"
        refs.append(JobRef(order.key, answer.ref))
    return refs


async def wait_until(
    driver: Driver, refs: Sequence[JobRef], phases: Iterable[Phase], deadline_s: float
) -> dict[str, Observation]:
    """Observe until each attempt is in one of the phases; fails at the deadline."""
    wanted = frozenset(phases)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    while True:
        seen = {each.key: each for each in await driver.observe(refs)}
        if all(ref.key in seen and seen[ref.key].phase in wanted for ref in refs):
            return seen
        if loop.time() > give_up_at:
            pytest.fail(f"not {sorted(wanted)} after {deadline_s} s: {list(seen.values())}")
        await asyncio.sleep(min(0.05, driver.poll_s))


async def outcomes(driver: Driver, refs: Sequence[JobRef], deadline_s: float) -> dict[str, Outcome]:
    """Wait until all attempts are done; their outcomes by key."""
    seen = await wait_until(driver, refs, {Phase.DONE}, deadline_s)
    found = {}
    for key, observation in seen.items():
        assert observation.outcome is not None, f"DONE without an outcome: {observation}"
        found[key] = observation.outcome
    return found


class ContractSetup:
    """What the author of a driver implements: the first four methods, and what faults can be injected."""

    deadline_s = 30.0
    """Seconds within which a quick attempt is over, also on a busy machine."""

    exactly_once = True
    """False for IDEMPOTENT drivers whose work may be done again without harm."""

    async def make_driver(self) -> Driver:
        """A new, started driver over the test's one outside world."""
        raise NotImplementedError

    def orders(self, n: int) -> list[JobOrder]:
        """Orders with keys never used before, whose attempts soon end well by themselves."""
        raise NotImplementedError

    def long_orders(self, n: int) -> list[JobOrder]:
        """Orders with keys never used before, whose attempts run until they are cancelled.
        Raise NotInjectable if there is no such work."""
        raise NotImplementedError

    def ledger(self) -> Mapping[str, int]:
        """How often each key really ran outside, told by the outside world itself."""
        raise NotImplementedError

    def command_values(self) -> Mapping[Command, int | str]:
        """A value for each command of the driver that takes one, to be had by a long order."""
        return {}

    def commands_taken(self, commands: frozenset[Command]) -> frozenset[Command]:
        """Those of the driver's commands that attempts of these orders take. The others are refused
        for good: a driver may have several kinds of work."""
        return commands

    def fail_some(self, keys: Sequence[str]) -> AbstractContextManager[None]:
        """The outside world refuses these keys."""
        raise NotInjectable("the outside world cannot be made to refuse some keys")

    def lose_answers(self) -> AbstractContextManager[None]:
        """Calls that change something take effect but their answers are lost."""
        raise NotInjectable("answers cannot be lost on the way")

    def slow(self) -> AbstractContextManager[None]:
        """Each call takes at least half a second."""
        raise NotInjectable("the outside world cannot be slowed down")

    def throttle(self) -> AbstractContextManager[None]:
        """The outside world turns everything away for now."""
        raise NotInjectable("the outside world cannot be made to turn work away")

    # ---- what follows is for the contract; leave it as it is

    def _long(self, n: int) -> list[JobOrder]:
        try:
            return self.long_orders(n)
        except NotInjectable as error:
            pytest.skip(str(error))

    def _fault(self, name: str, *args: Sequence[str]) -> AbstractContextManager[None]:
        try:
            fault: AbstractContextManager[None] = getattr(self, name)(*args)
        except NotInjectable as error:
            pytest.skip(str(error))
        return fault

    @asynccontextmanager
    async def _drivers(self) -> AsyncIterator[list[Driver]]:
        """A list whose drivers are stopped at the end; `_another` adds to it."""
        made: list[Driver] = []
        try:
            yield made
        finally:
            for driver in made:
                await driver.stop()

    async def _another(self, made: list[Driver]) -> Driver:
        driver = await self.make_driver()
        made.append(driver)
        return driver

    def _ran_once(self, orders: Sequence[JobOrder]) -> None:
        ledger = self.ledger()
        runs = {order.key: ledger.get(order.key, 0) for order in orders}
        if self.exactly_once:
            assert set(runs.values()) <= {1}, f"not exactly once: {runs}"
        else:
            assert min(runs.values(), default=1) >= 1, f"not run: {runs}"
