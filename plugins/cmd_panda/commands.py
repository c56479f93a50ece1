"""Commands to tasks: asked for one at a time for each task, and done when the task shows it.

PanDA keeps one command for a task, and a second one overwrites the first; "registered" says only that it
was noted. So nothing is asked of a task while another command is not to be seen yet, and what is not
to be seen for long is asked again.
"""

import math
from dataclasses import dataclass

from cmd_daemon.hooks import Command, Control, ControlAnswer, ErrorClass
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.records import TaskRecord
from cmd_panda.states import ENDING
from cmd_panda.watching import FINAL
from cmd_panda.work import Place

AGAIN_US = 300_000_000
"""After so long without an effect a command is asked for again: another one has overwritten it."""

MIB = 1024**2


@dataclass(slots=True)
class _Pending:
    command: Command
    value: int | str | None
    first_at: int
    asked_at: int


def is_so(control: Control, task: TaskRecord) -> bool:
    """Whether the task is as the command wants it. Raises ValueError for a value that means nothing."""
    match control.command:
        case Command.PAUSE:
            return task.status == "paused"
        case Command.RESUME:
            return task.status != "paused"
        case Command.PRIORITY:
            return task.priority == int(control.value or 0)
        case Command.MEMORY:
            return task.memory == megabytes(control.value)
        case Command.QUEUE:
            return task.queue == str(control.value or "")


def megabytes(value: int | str | None) -> int:
    """Bytes as PanDA's unit. Raises ValueError for what is no number above 0."""
    size = int(value or 0)
    if size <= 0:
        raise ValueError(f"{value} bytes of memory mean nothing")
    return math.ceil(size / MIB)


class TaskCommands:
    """The commands of one facility that are not to be seen yet, by task."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pending: dict[int, _Pending] = {}

    def forget(self, task: int) -> None:
        """The task is over."""
        self._pending.pop(task, None)

    async def carry_out(
        self, control: Control, task: int, record: TaskRecord | None
    ) -> ControlAnswer:
        """Look how the task is, and ask for what is not so yet. `record` is the task as this cycle has
        seen it; None: JEDI has not refined it yet."""
        there = f"task {task} at {self._place.settings.server}"
        if record is None:
            return self._not_yet(control, f"{there} is not refined yet")
        if record.status in FINAL:
            self.forget(task)
            return ControlAnswer(control.key, True, message=f"{there} is {record.status}")
        if record.status in ENDING:
            # PanDA accepts a pause here, and brings the task back with it.
            return self._refused(control, f"{there} is {record.status}: it is being ended")
        try:
            done = is_so(control, record)
        except ValueError as error:
            return self._refused(control, f"{there}: {error}")
        pending = self._pending.get(task)
        if pending is not None and not self._is_over(pending, control, record):
            if (pending.command, pending.value) != (control.command, control.value):
                words = (
                    f"{there} was asked to {pending.command} before, which is not to be seen yet"
                )
                return self._not_yet(control, words)
        elif done:
            self.forget(task)
            return ControlAnswer(control.key, True)
        else:
            pending = None
        return await self._ask(control, task, pending, there)

    def _is_over(self, pending: _Pending, control: Control, record: TaskRecord) -> bool:
        """Whether the command under way is to be seen, or was given up."""
        former = Control(control.key, control.ref, pending.command, pending.value)
        waited = (self._place.host.now() - pending.first_at) / 1e6
        return is_so(former, record) or waited > 2 * self._place.settings.confirm_s

    async def _ask(
        self, control: Control, task: int, pending: _Pending | None, there: str
    ) -> ControlAnswer:
        now = self._place.host.now()
        if pending is not None:
            waited = (now - pending.first_at) / 1e6
            if waited > self._place.settings.confirm_s:
                self.forget(task)
                words = f"{there} does not show '{control.command}' after {waited / 60:.0f} minutes"
                return ControlAnswer(control.key, False, ErrorClass.TRANSIENT, words)
            if now - pending.asked_at < AGAIN_US:
                return self._not_yet(control, f"{there} was asked; it is not to be seen yet")
        shared = self._place.shared()
        first_at = now if pending is None else pending.first_at
        # Noted before it is sent: one whose answer is lost may be carried out all the same.
        self._pending[task] = _Pending(control.command, control.value, first_at, now)
        try:
            await self._send(control, task)
        except PandaFault as fault:
            if fault.kind is Kind.LOST:
                return self._not_yet(control, str(fault))
            self.forget(task)
            if fault.kind in (Kind.GONE, Kind.STATE):
                # It has changed since the look: the next one tells.
                shared.watch.wake()
                return ControlAnswer(control.key, False, ErrorClass.TRANSIENT, str(fault))
            return ControlAnswer(control.key, False, fault.error_class, str(fault))
        shared.watch.wake()
        return self._not_yet(control, f"{there} was asked; it is not to be seen yet")

    async def _send(self, control: Control, task: int) -> None:
        server = self._place.shared().server
        match control.command:
            case Command.PAUSE:
                await server.pause(task)
            case Command.RESUME:
                await server.resume(task)
            case Command.PRIORITY:
                await server.change_priority(task, int(control.value or 0))
            case Command.MEMORY:
                await server.change_memory(task, megabytes(control.value))
            case Command.QUEUE:
                await self._reassign(str(control.value or ""), task)

    async def _reassign(self, queue: str, task: int) -> None:
        """Only to a queue that there is: the server takes any name."""
        shared = self._place.shared()
        specs = await shared.queues.specs()
        if queue not in specs:
            known = ", ".join(sorted(specs)[:20])
            raise PandaFault(
                Kind.DEFECT, f"{shared.server.there} has no queue '{queue}'; there are: {known}"
            )
        await shared.server.reassign(task, queue)

    def _not_yet(self, control: Control, words: str) -> ControlAnswer:
        return ControlAnswer(control.key, False, ErrorClass.NOT_YET, words)

    def _refused(self, control: Control, words: str) -> ControlAnswer:
        return ControlAnswer(control.key, False, ErrorClass.PERMANENT, words)
