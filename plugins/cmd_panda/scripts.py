"""The family of scripts: each attempt is one PanDA task of one job."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence

import structlog

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    Command,
    Control,
    ControlAnswer,
    DriverError,
    ErrorClass,
    Found,
    JobKind,
    JobOrder,
    JobRef,
    LogChunk,
    Observation,
    Outcome,
    Part,
    Phase,
    Progress,
    Refused,
    Unclear,
)
from cmd_housekeeping.arc_records import Record
from cmd_panda.books import MARK, Books, id_of
from cmd_panda.commands import TaskCommands
from cmd_panda.endings import outcome_of
from cmd_panda.errors import ErrorTable
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.inspecting import parts_of_task, read_part
from cmd_panda.planting import Planter
from cmd_panda.records import TaskRecord
from cmd_panda.settings import NAME
from cmd_panda.states import ENDING, message_of, phase_of, progress_of
from cmd_panda.watching import FINAL, Tasks
from cmd_panda.work import Place

AT_A_TIME = 20
"""Tasks that have failed, or that no look tells of, that are asked about in one observation."""

KILL_AGAIN_US = 300_000_000
"""Microseconds after which a kill that does not show is said again."""

log = structlog.get_logger()


class ScriptWork:
    """The scripts of one facility."""

    kinds = frozenset({JobKind.SCRIPT})
    mark = MARK
    commands = frozenset(Command)

    def __init__(self, place: Place) -> None:
        self._place = place
        self._now = place.host.now
        self._settings = place.settings
        root = place.host.state_dir / NAME / "scripts" / place.facility.name
        self._books = Books(root)
        self._table = ErrorTable(place.settings.errors, place.settings.passive, place.facility.name)
        self._commands = TaskCommands(place)
        self._planter = Planter(place, self._books)
        self._killed_at: dict[str, int] = {}
        self._asked_at: dict[str, int] = {}
        """When tasks that no look tells of were asked about: the others have their turn first."""

    # ---- life

    async def start(self) -> None:
        """Recall what is open. Raises DriverError if the state directory cannot be used."""
        try:
            await asyncio.to_thread(self._books.open)
        except OSError as error:
            raise DriverError(ErrorClass.TRANSIENT, f"{self._place.here}: {error}") from error

    async def stop(self) -> None:
        """End what is under way here; tasks go on."""
        await self._planter.close()

    # ---- submit and find: see `planting`

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Look for each attempt by its name, and submit those that are not there."""
        return await self._planter.submit(orders)

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Which attempts PanDA has."""
        return await self._planter.find(keys)

    # ---- observe

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """How far tasks are, from the look that everybody shares. The jobs of those that have failed
        are asked about once, some at a time."""
        seen: list[Observation] = []
        waiting: list[tuple[JobRef, int, Record]] = []
        for ref, told in zip(refs, await asyncio.to_thread(self._recall, refs), strict=True):
            match told:
                case Outcome():
                    seen.append(Observation(ref.key, Phase.DONE, outcome=told))
                case None:
                    words = f"{self._place.here}: '{ref.ref}' is no task"
                    seen.append(Observation(ref.key, Phase.GONE, message=words))
                case task, record:
                    waiting.append((ref, task, record))
        if not waiting:
            return seen
        oldest = min(record.sent_at for _, _, record in waiting)
        tasks = await self._place.shared().watch.tasks(oldest)
        endings: list[Coroutine[None, None, Observation]] = []
        unseen = 0
        waiting.sort(key=lambda each: self._asked_at.get(each[0].key, 0))
        for ref, task, record in waiting:
            known: TaskRecord | Observation | None = tasks.get(task)
            if known is None and self._is_fresh(record):
                known = _queued(ref, "taken by PanDA, not refined yet")
            elif known is None and unseen == AT_A_TIME:
                known = _queued(ref, "not seen at PanDA for long; it is asked about soon")
            elif known is None:
                unseen += 1
                known = await self._unseen(ref, task, record, tasks)
            if isinstance(known, Observation):
                seen.append(known)
                continue
            await self._tend(ref, known, record)
            if known.status not in FINAL:
                seen.append(self._going_on(ref, known, tasks))
            elif known.status == "done" or len(endings) < AT_A_TIME:
                endings.append(self._over(ref, known, record))
            else:
                words = f"task {task} is {known.status}; its jobs are asked about soon"
                seen.append(Observation(ref.key, Phase.RUNNING, message=words))
        return seen + list(await asyncio.gather(*endings))

    def _recall(self, refs: Sequence[JobRef]) -> list[Outcome | tuple[int, Record] | None]:
        """What the books have of each: its outcome, or its task and record; None for no task."""
        found: list[Outcome | tuple[int, Record] | None] = []
        for ref in refs:
            task = id_of(ref.ref)
            outcome = None if self._books.is_open(ref.key) else self._books.outcome(ref.key)
            if outcome is not None or task is None:
                found.append(outcome)
            else:
                found.append((task, self._books.took(ref.key, task)))
        return found

    def _going_on(self, ref: JobRef, task: TaskRecord, tasks: Tasks) -> Observation:
        moved, hours = tasks.moved_at(task.id), self._settings.stuck_h
        words = message_of(task, moved, self._now(), hours)
        return Observation(
            ref.key, phase_of(task.status), progress=progress_of(task, words), message=words
        )

    def _is_fresh(self, record: Record) -> bool:
        """Whether JEDI may well not have refined the task yet."""
        return self._now() - record.sent_at < self._settings.refine_s * 1e6

    async def _unseen(
        self, ref: JobRef, task: int, record: Record, tasks: Tasks
    ) -> Observation | TaskRecord:
        """A task that no look tells of: JEDI has not refined it for long, or it is gone, or the looks
        do not reach back to it."""
        server = self._place.shared().server
        self._asked_at[ref.key] = self._now()
        known = await server.task(task)
        if known is not None:
            tasks.take([known], self._now())
            return known
        waited = (self._now() - record.sent_at) / 1e6
        if waited >= self._settings.lost_s and await server.task_parameters(task) is None:
            words = f"{self._place.here}: PanDA has no task {task} any more"
            return Observation(ref.key, Phase.GONE, message=words)
        hours = waited / 3600
        words = f"taken by PanDA, but not refined for {hours:.1f} hours: is JEDI at work there?"
        return _queued(ref, words)

    async def _tend(self, ref: JobRef, task: TaskRecord, record: Record) -> None:
        """Say a kill again that has not been carried out: one that came before the task was refined is
        lost, and so is one that another command has overwritten. A parked task is ended too."""
        wanted = record.cancelled or task.status == "exhausted"
        if not wanted or task.status in FINAL or task.status in ENDING:
            return
        if self._now() - self._killed_at.get(ref.key, 0) < KILL_AGAIN_US:
            return
        self._killed_at[ref.key] = self._now()
        try:
            await self._place.shared().server.kill(task.id)
        except PandaFault as fault:
            log.warning("task could not be killed", task=task.id, problem=str(fault))

    async def _over(self, ref: JobRef, task: TaskRecord, record: Record) -> Observation:
        outcome = await self._outcome(ref, task, record)
        await asyncio.to_thread(self._books.keep_outcome, ref.key, outcome)
        self._killed_at.pop(ref.key, None)
        self._asked_at.pop(ref.key, None)
        self._commands.forget(task.id)
        return Observation(ref.key, Phase.DONE, outcome=outcome, progress=progress_of(task))

    async def _outcome(self, ref: JobRef, task: TaskRecord, record: Record) -> Outcome:
        jobs = []
        if task.status != "done":
            jobs = await self._place.shared().server.jobs(task.id, unsuccessful=True)
        parked = ref.key in self._killed_at and not record.cancelled
        return outcome_of(task, jobs, self._table, record.cancelled, parked)

    # ---- cancel and control

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Have tasks killed. A kill that cannot be carried out yet is said again while observing."""
        await self._planter.settled(ref.key for ref in refs)
        return await asyncio.gather(*(self._cancel(ref) for ref in refs))

    async def _cancel(self, ref: JobRef) -> CancelAnswer:
        task = id_of(ref.ref)
        if task is None or await asyncio.to_thread(self._books.outcome, ref.key) is not None:
            return CancelAnswer(ref.key, done=True)
        await asyncio.to_thread(self._books.cancelled, ref.key, task)
        try:
            await self._place.shared().server.kill(task)
        except PandaFault as fault:
            if fault.kind in (Kind.GONE, Kind.STATE):
                return CancelAnswer(ref.key, done=True, message=str(fault))
            return CancelAnswer(ref.key, done=False, message=f"{self._place.here}: {fault}")
        self._killed_at[ref.key] = self._now()
        return CancelAnswer(ref.key, done=True)

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """Commands to tasks, each done when the task shows it."""
        asked: list[tuple[Control, int]] = []
        answers: list[ControlAnswer] = []
        oldest = self._now()
        for control in controls:
            task = id_of(control.ref)
            over = await asyncio.to_thread(self._books.outcome, control.key)
            if task is None or over is not None:
                answers.append(ControlAnswer(control.key, True, message="it is over"))
                continue
            record = await asyncio.to_thread(self._books.took, control.key, task)
            if record.cancelled:
                words = f"task {task} is being ended"
                answers.append(ControlAnswer(control.key, False, ErrorClass.PERMANENT, words))
                continue
            oldest = min(oldest, record.sent_at)
            asked.append((control, task))
        if asked:
            tasks = await self._place.shared().watch.tasks(oldest)
            answers += await asyncio.gather(
                *(
                    self._commands.carry_out(control, task, tasks.get(task))
                    for control, task in asked
                )
            )
        return answers

    # ---- drill-down

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The task, its jobs with what went wrong, and where their logs are."""
        task = id_of(ref.ref)
        if task is None:
            return []
        return await parts_of_task(self._place, self._table, task)

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """A log that `inspect` has named."""
        task = id_of(ref.ref)
        if task is None:
            raise DriverError(ErrorClass.PERMANENT, f"{self._place.here}: '{ref.ref}' is no task")
        async for chunk in read_part(self._place, task, part, offset, follow):
            yield chunk


def _queued(ref: JobRef, words: str) -> Observation:
    """Nothing runs yet, and why: progress is what people are shown of attempts that are not over."""
    return Observation(ref.key, Phase.QUEUED, progress=Progress(note=words), message=words)
