"""Commands to attempts that are outside: committed intents become calls of `control`, in sets."""

from collections.abc import Callable

import structlog

from cmd_daemon.engine.answers import key_of, listed, words
from cmd_daemon.engine.calls import Call, answered
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.guarding import CallFailed, guarded
from cmd_daemon.engine.journal import Journal
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.failpoints import failpoint
from cmd_daemon.hooks.control import Command, Control, Controllable
from cmd_daemon.kernel import commands
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.entities import Job
from cmd_daemon.kernel.outcome import ErrorClass
from cmd_daemon.kernel.states import JobState
from cmd_daemon.kernel.view import View

log = structlog.get_logger()

CONTROL = "control"


def commands_of(lane: Lane) -> frozenset[Command]:
    """The commands that a lane's driver takes; none of one that names nonsense."""
    if not isinstance(lane.driver, Controllable):
        return frozenset()
    try:
        return frozenset(map(Command, lane.driver.commands))
    except (TypeError, ValueError):
        log.exception("a driver names commands that are none", driver=lane.name)
        return frozenset()


class Controls:
    """Asks drivers for what is wanted of their attempts, and posts what they answer."""

    def __init__(
        self, view: View, journal: Journal, clock: Clock, post: Callable[[ev.Event], None]
    ) -> None:
        self._view = view
        self._journal = journal
        self._clock = clock
        self._post = post

    async def make(self, lane: Lane, calls: list[Call]) -> None:
        """One question to the lane's driver for a set of commands, each to another attempt."""
        asked: dict[str, Call] = {}
        controls: list[Control] = []
        jobs: list[Job] = []
        for call in calls:
            job = self._view.jobs.get(call.job_id)
            control = self._control(call, job)
            if job is not None and control is not None and control.key not in asked:
                asked[control.key] = call
                controls.append(control)
                jobs.append(job)
        if not controls:
            return
        if not isinstance(lane.driver, Controllable):
            self._fail(asked, ErrorClass.PERMANENT, f"{lane.name} takes no commands any more")
            return
        await self._journal.leading()
        failpoint("before-control")
        try:
            answers = await guarded(
                lane, self._clock, CONTROL, lane.driver.control(controls), ErrorClass.UNKNOWN, jobs
            )
        except CallFailed as failed:
            self._fail(asked, failed.error_class, str(failed))
            return
        failpoint("after-control")
        for answer in listed(answers, len(controls)):
            known = asked.pop(key_of(answer), None)
            if known is None:
                log.warning(
                    "an answer nobody asked for",
                    facility=lane.facility,
                    driver=lane.name,
                    answer=words(answer),
                )
                continue
            kind = getattr(answer, "error_class", None)
            error = kind if isinstance(kind, ErrorClass) else ErrorClass.UNKNOWN
            done = getattr(answer, "done", None) is True
            self._post(answered(known, done, error, words(getattr(answer, "message", ""))))
        self._fail(asked, ErrorClass.UNKNOWN, f"{lane.name} gave no answer for this attempt")

    def _control(self, call: Call, job: Job | None) -> Control | None:
        """What is to be asked; None if the attempt is over or a newer command took the place of this
        one, whose own call comes once it is committed."""
        if job is None or job.attempt != call.attempt or job.state is not JobState.RUNNING:
            return None
        queue = commands.read(job.commands)
        if not queue or queue[0].number != call.number:
            return None
        return Control(self._view.key(job), job.ref or "", queue[0].command, queue[0].value)

    def _fail(self, asked: dict[str, Call], error: ErrorClass, message: str) -> None:
        for call in asked.values():
            self._post(answered(call, False, error, message))
