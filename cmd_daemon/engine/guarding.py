"""A driver's call, guarded: it has a deadline, the breaker learns how it went, and a trace may be kept."""

import time
from collections.abc import Awaitable, Collection
from typing import TypeVar

import structlog

from cmd_daemon.engine.answers import words
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.hooks.ports import DriverError
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.observe.metrics import driver_call
from cmd_daemon.observe.spans import OutsideCall

log = structlog.get_logger()

T = TypeVar("T")

CALL_S = 120.0
"""Seconds a driver may take for one call."""


class CallFailed(Exception):
    """A driver's call failed as a whole."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


async def guarded(
    lane: Lane,
    clock: Clock,
    verb: str,
    call: Awaitable[T],
    otherwise: ErrorClass,
    about: Collection[Job],
) -> T:
    """Await a driver's call about these jobs with a deadline; the breaker learns how it went.

    Raises CallFailed, with class `otherwise` for what the driver did not class itself.
    """
    if lane.tracing is None:
        return await _guarded(lane, clock, verb, call, otherwise)
    began, problem = time.time_ns(), "broken off"
    answers = None
    try:
        answers = await _guarded(lane, clock, verb, call, otherwise)
        problem = ""
        return answers
    except CallFailed as failed:
        problem = str(failed)
        raise
    finally:
        made = OutsideCall(verb, lane.facility, lane.name, len(about), began, problem)
        lane.tracing.called(made, about, answers)


async def _guarded(
    lane: Lane, clock: Clock, verb: str, call: Awaitable[T], otherwise: ErrorClass
) -> T:
    with driver_call(lane.facility, lane.name, verb) as outcome:
        try:
            answer = await contained(call, CALL_S)
        except DriverError as error:
            kind = error.error_class if isinstance(error.error_class, ErrorClass) else otherwise
            failed = CallFailed(kind, words(str(error)))
        except TimeoutError:
            failed = CallFailed(otherwise, f"{lane.name} did not answer in {CALL_S:.0f} s")
        except Exception as error:
            log.exception("a driver raised", facility=lane.facility, driver=lane.name, verb=verb)
            problem = words(f"{type(error).__name__}: {error}")
            failed = CallFailed(otherwise, f"{lane.name} failed: {problem}")
        else:
            if lane.breaker.succeeded(clock.now()):
                log.info("the driver works again", facility=lane.facility, driver=lane.name)
            return answer
        outcome.failed(failed.error_class)
    if failed.error_class in (ErrorClass.TRANSIENT, ErrorClass.UNKNOWN) and lane.breaker.fail(
        clock.now(), str(failed)
    ):
        log.error(
            "circuit breaker opened", facility=lane.facility, driver=lane.name, problem=str(failed)
        )
    raise failed
