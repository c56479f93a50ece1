"""Outside calls: committed intents become calls of drivers, in sets, with look-up before retry."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from cmd_daemon.engine.answers import key_of, listed, usable_ref, words
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.containment import contained
from cmd_daemon.engine.guarding import CALL_S, CallFailed, guarded
from cmd_daemon.engine.journal import Journal
from cmd_daemon.engine.lanes import Lane, Lanes
from cmd_daemon.engine.orders import order_of, wants_attempts
from cmd_daemon.failpoints import failpoint
from cmd_daemon.hooks.ports import (
    Absent,
    Accepted,
    DriverError,
    Found,
    JobOrder,
    JobRef,
    Refused,
    Safety,
    Unclear,
    Verb,
)
from cmd_daemon.kernel import commands
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Command
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.records import AttemptRow
from cmd_daemon.kernel.states import JobState
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

T = TypeVar("T")

SET_SIZE = 500
"""Attempts in one call at most."""


@dataclass(frozen=True, slots=True)
class Call:
    """One intended call: for which attempt, whether to look up first, and of a command its number."""

    job_id: int
    attempt: int
    look: bool = False
    number: int = 0


def answered(call: Call, done: bool, error: ErrorClass, message: str) -> ev.CommandAnswered:
    """What became of a command."""
    return ev.CommandAnswered(
        job_id=call.job_id,
        attempt=call.attempt,
        number=call.number,
        done=done,
        error_class=error,
        message=message,
    )


Make = Callable[[Lane, list[Call]], Awaitable[None]]


class Calls:
    """Makes the intended calls. One task a lane for each of submit, cancel and control: those of the same
    kind never overlap."""

    def __init__(
        self,
        view: View,
        journal: Journal,
        clock: Clock,
        post: Callable[[ev.Event], None],
        decided: Callable[[], Awaitable[None]],
        queue_of: Callable[[Job], str],
        control: Make,
    ) -> None:
        self._view = view
        self._journal = journal
        self._clock = clock
        self._post = post
        self._decided = decided
        self._queue_of = queue_of
        self._control = control
        self._queues: dict[tuple[str, str, str], asyncio.Queue[Call]] = {}

    def open(self, lane: Lane) -> list[Awaitable[None]]:
        """Make the lane's queues; returns the endless tasks that serve them."""
        tasks: list[Awaitable[None]] = []
        served: tuple[tuple[Iterable[str], Make], ...] = (
            ((Verb.SUBMIT,), self._submit),
            ((Verb.CANCEL,), self._cancel),
            (Command, self._control),
        )
        for verbs, make in served:
            queue: asyncio.Queue[Call] = asyncio.Queue()
            for verb in verbs:
                self._queues[lane.facility, lane.name, verb] = queue
            tasks.append(self._serve(lane, queue, make))
        return tasks

    def want(self, lane: Lane, verb: str, call: Call) -> None:
        """The intent is committed: make the call."""
        self._queues[lane.facility, lane.name, verb].put_nowait(call)

    def pick_up(self, lanes: Lanes) -> None:
        """After recovery: calls that may or may not have been made are looked up, or made again."""
        for job in list(self._view.jobs.values()):
            lane = lanes.of(job)
            if lane is None:
                continue
            if job.state is JobState.SUBMITTING and job.due_at is None:
                self.want(lane, Verb.SUBMIT, Call(job.id, job.attempt, look=True))
            elif job.state is JobState.RUNNING and job.cancelling:
                self.want(lane, Verb.CANCEL, Call(job.id, job.attempt))
            elif queue := commands.read(job.commands):
                call = Call(job.id, job.attempt, number=queue[0].number)
                self.want(lane, queue[0].command, call)

    def depth(self, lane: Lane) -> int:
        """Calls that wait to be made."""
        return self._queues[lane.facility, lane.name, Verb.SUBMIT].qsize()

    async def _serve(self, lane: Lane, queue: asyncio.Queue[Call], make: Make) -> None:
        while True:
            calls = [await queue.get()]
            while len(calls) < SET_SIZE and not queue.empty():
                calls.append(queue.get_nowait())
            while not lane.started:
                # What is picked up after a restart must not come while the driver clears up.
                await self._clock.wait(0.05)
            while lane.breaker.state(self._clock.now()) == "open":
                await self._clock.wait(0.5)
            if self._view.killed(lane.facility):
                await (
                    self._decided()
                )  # the sweep is in the inbox: nothing of it is submitted any more
            try:
                await make(lane, calls)
            except Exception:
                # Our own fault, not the driver's: nothing may be lost by it.
                log.exception("a set of calls failed", facility=lane.facility, driver=lane.name)
                for call in calls:
                    self._faulty(call)
            await self._decided()

    def _faulty(self, call: Call) -> None:
        problem = "the daemon failed to make the call"
        self._fail(call, ErrorClass.UNKNOWN, problem)
        self._post(answered(call, False, ErrorClass.UNKNOWN, problem))

    def _job(self, call: Call, state: JobState) -> Job | None:
        job = self._view.jobs.get(call.job_id)
        if job is None or job.attempt != call.attempt or job.state is not state:
            return None
        return job

    def _fail(self, call: Call, error: ErrorClass, message: str, repeatable: bool = True) -> None:
        self._post(
            ev.SubmitFailed(
                job_id=call.job_id,
                attempt=call.attempt,
                error_class=error,
                message=message,
                repeatable=repeatable,
            )
        )

    async def _submit(self, lane: Lane, calls: list[Call]) -> None:
        wanted: dict[str, tuple[Call, Job]] = {}
        look: list[str] = []
        for call in calls:
            job = self._job(call, JobState.SUBMITTING)
            if job is not None:
                key = self._view.key(job)
                wanted[key] = (call, job)
                if job.cancelling or call.look:
                    look.append(key)
        safety = lane.driver.safety.get(Verb.SUBMIT, Safety.NEITHER)
        if look:
            await self._look_up(lane, look, wanted, safety)
        if not wanted:
            return
        orders = await self._orders(wanted)
        if not orders:
            return
        repeatable = safety is not Safety.NEITHER
        await self._journal.leading()
        failpoint("before-submit")
        try:
            answers = await guarded(
                lane,
                self._clock,
                Verb.SUBMIT,
                self._while_leading(lane.driver.submit(orders)),
                ErrorClass.UNKNOWN,
                [job for _, job in wanted.values()],
            )
        except CallFailed as failed:
            for call, _ in wanted.values():
                self._fail(call, failed.error_class, str(failed), repeatable)
            return
        failpoint("after-submit")
        for answer in listed(answers, len(wanted)):
            pair = wanted.pop(key_of(answer), None)
            if pair is None:
                log.warning(
                    "an answer nobody asked for",
                    facility=lane.facility,
                    driver=lane.name,
                    answer=words(answer),
                )
                continue
            call = pair[0]
            failpoint("before-answer")
            match answer:
                case Accepted(ref=str(ref)) if usable_ref(ref):
                    self._post(ev.JobTaken(job_id=call.job_id, attempt=call.attempt, ref=ref))
                case Refused(error_class=ErrorClass() as error, message=message):
                    self._fail(call, error, words(message), repeatable)
                case _:
                    problem = f"{lane.name} answered {words(answer)}"
                    self._fail(call, ErrorClass.UNKNOWN, problem, repeatable)
        for call, _ in wanted.values():
            problem = f"{lane.name} gave no answer for this attempt"
            self._fail(call, ErrorClass.UNKNOWN, problem, repeatable)

    async def _while_leading(self, call: Awaitable[T]) -> T:
        """Await a driver's call, but break it off when another daemon may lead: what it has not done
        by then, the other one does. Raises DriverError UNKNOWN, so that it is looked up."""
        making = asyncio.create_task(contained(call, CALL_S))
        doubting = asyncio.create_task(self._journal.lead_in_doubt())
        try:
            await asyncio.wait({making, doubting}, return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                return making.result()
            raise DriverError(
                ErrorClass.UNKNOWN, "broken off: the database was away, and another daemon may lead"
            )
        finally:
            doubting.cancel()
            making.cancel()

    async def _look_up(
        self, lane: Lane, keys: list[str], wanted: dict[str, tuple[Call, Job]], safety: Safety
    ) -> None:
        """Take out of `wanted` what is not to be submitted."""
        if safety is Safety.NEITHER:
            for key in keys:
                call, _ = wanted.pop(key)
                self._fail(
                    call, ErrorClass.UNKNOWN, f"{lane.name} cannot be asked for its attempts", False
                )
            return
        try:
            answers = await guarded(
                lane,
                self._clock,
                "find",
                lane.driver.find(keys),
                ErrorClass.TRANSIENT,
                [wanted[key][1] for key in keys],
            )
        except CallFailed as failed:
            for key in keys:
                call, _ = wanted.pop(key)
                self._post(
                    ev.LookUpFailed(job_id=call.job_id, attempt=call.attempt, message=str(failed))
                )
            return
        told = {key_of(answer): answer for answer in listed(answers, len(keys))}
        for key in keys:
            call, job = wanted[key]
            match told.get(key):
                case Found(ref=str(ref)) if usable_ref(ref):
                    del wanted[key]
                    self._post(ev.JobTaken(job_id=call.job_id, attempt=call.attempt, ref=ref))
                case Absent():
                    if job.cancelling:
                        del wanted[key]
                        self._post(ev.JobAbsent(job_id=call.job_id, attempt=call.attempt))
                case other:
                    del wanted[key]
                    problem = words(other.message) if isinstance(other, Unclear) else "no answer"
                    self._fail(call, ErrorClass.UNKNOWN, f"looked up at {lane.name}: {problem}")

    async def _orders(self, wanted: dict[str, tuple[Call, Job]]) -> list[JobOrder]:
        sources = {key: wants_attempts(self._view, job) for key, (_, job) in wanted.items()}
        ids = sorted({ident for ident in sources.values() if ident is not None})
        former: dict[int, list[AttemptRow]] = {}
        if ids:
            for row in await self._journal.attempts_of(ids):
                former.setdefault(row.job_id, []).append(row)
        orders: list[JobOrder] = []
        for key, (call, known) in list(wanted.items()):
            job = self._job(call, JobState.SUBMITTING) or known
            try:
                order = order_of(self._view, job, former.get(sources[key] or 0, []))
                queue = self._queue_of(job)
                orders.append(replace(order, queue=queue) if queue else order)
            except (ValueError, KeyError) as error:
                del wanted[key]
                self._fail(call, ErrorClass.PERMANENT, f"no order could be made: {error}")
        return orders

    async def _cancel(self, lane: Lane, calls: list[Call]) -> None:
        wanted: dict[str, tuple[Call, JobRef]] = {}
        jobs: list[Job] = []
        for call in calls:
            job = self._job(call, JobState.RUNNING)
            if job is not None and job.cancelling:
                key = self._view.key(job)
                wanted[key] = (call, JobRef(key, job.ref or ""))
                jobs.append(job)
        if not wanted:
            return
        await self._journal.leading()
        try:
            answers = await guarded(
                lane,
                self._clock,
                Verb.CANCEL,
                lane.driver.cancel([ref for _, ref in wanted.values()]),
                ErrorClass.UNKNOWN,
                jobs,
            )
        except CallFailed as failed:
            for call, _ in wanted.values():
                self._cancel_failed(call, str(failed))
            return
        for answer in listed(answers, len(wanted)):
            pair = wanted.pop(key_of(answer), None)
            if pair is not None and not getattr(answer, "done", False):
                self._cancel_failed(pair[0], words(getattr(answer, "message", "")))
        for call, _ in wanted.values():
            self._cancel_failed(call, f"{lane.name} gave no answer")
        lane.wake.set()

    def _cancel_failed(self, call: Call, message: str) -> None:
        self._post(ev.CancelFailed(job_id=call.job_id, attempt=call.attempt, message=message))
