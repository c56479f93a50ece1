"""Lanes put to work: their drivers started, as often as it takes, or exchanged for others."""

import asyncio
from collections.abc import Callable

import structlog

from cmd_daemon.engine.answers import words
from cmd_daemon.engine.calls import Calls
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.lanes import Lane, Lanes
from cmd_daemon.engine.polling import Polling
from cmd_daemon.hooks.ports import Driver, DriverError
from cmd_daemon.kernel.outcome import ErrorClass

log = structlog.get_logger()

START_S = 120.0
"""Seconds a driver may take to start or stop; then it is started again, or left alone."""


class Opening:
    """Opens lanes. Before `begin` they are only known."""

    def __init__(
        self, lanes: Lanes, calls: Calls, polling: Polling, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._lanes = lanes
        self._calls = calls
        self._polling = polling
        self._clock = clock
        self._wake = wake
        self._tasks: asyncio.TaskGroup | None = None

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Put all lanes to work in these tasks, and from now on each that is opened."""
        self._tasks = tasks
        for lane in self._lanes.lanes.values():
            self.open(lane)
        tasks.create_task(self._watch_breakers())

    def open(self, lane: Lane) -> None:
        """Put a lane to work."""
        if self._tasks is not None:
            for serve in self._calls.open(lane):
                self._tasks.create_task(serve)  # type: ignore[arg-type]
            self._tasks.create_task(self._run(lane))

    async def exchange(self, lane: Lane, driver: Driver) -> None:
        """Give a lane another driver. A call of the former one that is cut off is looked up by the new
        one, as after a restart; attempts outside are adopted."""
        former, lane.driver, lane.started = lane.driver, driver, False
        try:
            await contained(former.stop(), START_S)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            problem = words(str(error) or type(error).__name__)
            log.warning(
                "a driver does not stop", facility=lane.facility, driver=lane.name, problem=problem
            )
        if self._tasks is not None:
            self._tasks.create_task(self._start(lane))

    async def _run(self, lane: Lane) -> None:
        await self._start(lane)
        await self._polling.run(lane)

    async def _start(self, lane: Lane) -> None:
        """Start a driver, as often as it takes."""
        pause = 1.0
        while not lane.started:
            driver = lane.driver
            try:
                await contained(driver.start(), START_S)
                lane.started = lane.driver is driver
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                problem = words(str(error) or type(error).__name__)
                lane.breaker.fail(self._clock.now(), f"does not start: {problem}")
                log.error(
                    "a driver does not start",
                    facility=lane.facility,
                    driver=lane.name,
                    problem=problem,
                    permanent=isinstance(error, DriverError)
                    and error.error_class is ErrorClass.PERMANENT,
                )
                await self._clock.wait(pause)
                pause = min(pause * 2, 60.0)
        lane.breaker.succeeded(self._clock.now())
        self._lanes.touch(lane)
        self._wake()

    async def _watch_breakers(self) -> None:
        """A lane whose breaker's pause is over gets its try."""
        while True:
            await self._clock.wait(1.0)
            now = self._clock.now()
            for lane in self._lanes.lanes.values():
                if lane.ready and lane.breaker.state(now) == "half-open":
                    self._lanes.touch(lane)
                    self._wake()
