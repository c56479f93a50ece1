"""The driver `local`: process and script jobs as processes of the daemon's machine.

Each attempt is a directory and a supervisor process that needs neither the daemon nor the driver;
the driver only plants directories, starts supervisors and reads what they wrote. So a daemon that
was killed finds everything again, and nothing is started twice.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    DriverError,
    ErrorClass,
    FacilityInfo,
    Found,
    Host,
    JobKind,
    JobOrder,
    JobRef,
    LogChunk,
    Observation,
    Part,
    Phase,
    Refused,
    Safety,
    Unclear,
    Verb,
)
from cmd_local.attempts import Stage, WorkDirectory, read_json, ref_of
from cmd_local.orders import BadOrder
from cmd_local.payload import Payload, prepare
from cmd_local.results import outcome_of, parts_of, progress_of
from cmd_local.settings import LocalSettings
from cmd_local.watching import Watch, spawn

NAME = "local"
CHUNK = 64 * 1024
FOLLOW_S = 0.25


@dataclass(slots=True)
class _Look:
    """What one look at an attempt found, and what the loop has to do about it."""

    observation: Observation
    stage: Stage
    pid: int | None = None


class LocalDriver:
    """One facility's local processes. Keys are planted as directory names: FINDABLE."""

    safety: Mapping[Verb, Safety] = {Verb.SUBMIT: Safety.FINDABLE, Verb.CANCEL: Safety.IDEMPOTENT}
    poll_s = 2.0

    def __init__(self, facility: FacilityInfo, settings: LocalSettings, host: Host) -> None:
        self._facility = facility
        self._settings = settings
        self._host = host
        root = settings.work_dir or host.state_dir / NAME / facility.name
        self._work = WorkDirectory(root.absolute())
        self._running: dict[str, int] = {}  # ref -> bytes of memory asked for
        self._watches: dict[str, Watch] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._planting: dict[str, asyncio.Task[Accepted | Refused]] = {}

    @property
    def _here(self) -> str:
        return f"driver '{NAME}' at facility {self._facility.name}"

    async def start(self) -> None:
        """Make the work directory ready and adopt what a former daemon left running."""
        try:
            opened = await asyncio.to_thread(self._open)
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"{self._here}: work directory {self._work.root} cannot be used: {error}",
            ) from error
        self._running = opened
        for ref in list(opened):
            sight = await asyncio.to_thread(self._work.look, ref, False)
            if sight.stage is Stage.OVER:
                await asyncio.to_thread(self._release, ref)
            elif sight.pid is not None:
                self._watch(ref, sight.pid)

    def _open(self) -> dict[str, int]:
        self._work.prepare()
        if self._settings.keep_days is not None:
            self._work.remove_older(self._settings.keep_days * 86_400)
        found = {}
        for ref in self._work.open_refs():
            order = read_json(self._work.path(ref) / "order.json") or {}
            found[ref] = int(order.get("memory") or 0)
        return found

    async def stop(self) -> None:
        """Let go of the supervisors; they go on."""
        if self._planting:
            await asyncio.wait(list(self._planting.values()))
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self._children.clear()

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Plant and start attempts; an attempt planted before is taken as it is.

        Refused NOT_YET when slots or memory are taken, PERMANENT for an order that cannot be
        carried out here, TRANSIENT when the disk or the machine refuses.
        """
        answers: list[Accepted | Refused] = []
        tasks: list[asyncio.Task[Accepted | Refused]] = []
        for order in orders:
            task = self._planting.get(order.key)
            if task is None:
                try:
                    known = self._work.holds(order.key)
                    payload = None if known else self._prepare(order)
                except BadOrder as error:
                    answers.append(Refused(order.key, ErrorClass.PERMANENT, str(error)))
                    continue
                except OSError as error:
                    answers.append(Refused(order.key, ErrorClass.TRANSIENT, self._disk(error)))
                    continue
                if payload is None:
                    answers.append(Accepted(order.key, ref_of(order.key)))
                    continue
                full = self._full(order)
                if full:
                    answers.append(Refused(order.key, ErrorClass.NOT_YET, full))
                    continue
                self._running[ref_of(order.key)] = order.memory
                task = asyncio.create_task(self._plant(order, payload))
                self._planting[order.key] = task
                task.add_done_callback(partial(self._planted, order.key))
            tasks.append(task)
        # A deadline may end our waiting, but not the planting: `find` waits for that.
        answers += await asyncio.gather(*(asyncio.shield(task) for task in tasks))
        return answers

    def _planted(self, key: str, _: asyncio.Task[Accepted | Refused]) -> None:
        self._planting.pop(key, None)

    def _prepare(self, order: JobOrder) -> Payload:
        return prepare(order, self._facility, self._settings, self._work)

    def _disk(self, error: OSError) -> str:
        return f"{self._here}: {self._work.root} gives an error: {error}"

    def _full(self, order: JobOrder) -> str:
        """Why there is no room for another attempt now; empty if there is."""
        slots = self._facility.slots if self._settings.slots is None else self._settings.slots
        if len(self._running) >= slots:
            return f"{self._here}: all {slots} slots are taken"
        limit = self._settings.memory
        used = sum(self._running.values())
        if limit is not None and used and used + order.memory > limit:
            return (
                f"{self._here}: {used / 1e9:.1f} GB of its {limit / 1e9:.1f} GB of memory are "
                f"taken, the job asks for {order.memory / 1e9:.1f} GB"
            )
        return ""

    async def _plant(self, order: JobOrder, payload: Payload) -> Accepted | Refused:
        ref = ref_of(order.key)
        try:
            fresh = await asyncio.to_thread(
                self._work.plant, order.key, payload.files, payload.executables
            )
        except OSError as error:
            self._running.pop(ref, None)
            return Refused(order.key, ErrorClass.TRANSIENT, self._disk(error))
        if fresh:
            await self._spawn(ref)
        return Accepted(order.key, ref)

    async def _spawn(self, ref: str) -> None:
        """Start a supervisor. If the machine refuses, the next look tries again."""
        try:
            process = await asyncio.to_thread(spawn, self._work.path(ref))
        except OSError:
            return
        self._children[ref] = process
        self._watch(ref, process.pid, process)

    def _watch(self, ref: str, pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
        def ended() -> None:
            self._watches.pop(ref, None)
            self._host.wake(self._facility.name, NAME)

        old = self._watches.pop(ref, None)
        if old is not None:
            old.close()
        try:
            self._watches[ref] = Watch(pid, ended, process)
        except OSError:
            self._host.wake(self._facility.name, NAME)

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Whether attempts were planted here, by this daemon or a former one."""
        under_way = [self._planting[key] for key in keys if key in self._planting]
        if under_way:
            await asyncio.wait(under_way)
        return await asyncio.to_thread(lambda: [self._find(key) for key in keys])

    def _find(self, key: str) -> Found | Absent | Unclear:
        try:
            os.stat(self._work.attempts)  # noqa: PTH116 a missing disk is not a missing attempt
            return Found(key, ref_of(key)) if self._work.holds(key) else Absent(key)
        except OSError as error:
            return Unclear(key, self._disk(error))

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Look at attempts: one directory read for each that runs."""
        watched = set(self._watches)
        try:
            looks = await asyncio.to_thread(lambda: [self._look(ref, watched) for ref in refs])
        except OSError as error:
            raise DriverError(ErrorClass.TRANSIENT, self._disk(error)) from error
        for asked, look in zip(refs, looks, strict=True):
            if look.stage is Stage.RUNNING and look.pid is not None:
                if asked.ref not in self._watches:
                    self._watch(asked.ref, look.pid)
            elif look.stage is Stage.UNSTARTED and asked.key not in self._planting:
                self._running.setdefault(asked.ref, 0)
                await self._spawn(asked.ref)
            elif look.stage in (Stage.OVER, Stage.MISSING):
                self._forget(asked.ref)
        return [look.observation for look in looks]

    def _look(self, asked: JobRef, watched: set[str]) -> _Look:
        key, ref = asked.key, asked.ref
        if ref != ref_of(key):
            return _Look(Observation(key, Phase.GONE, message="not a name of ours"), Stage.MISSING)
        sight = self._work.look(ref, ref in watched)
        path = self._work.path(ref)
        if sight.stage is Stage.MISSING:
            gone = f"{self._here}: there is no attempt directory {path}"
            return _Look(Observation(key, Phase.GONE, message=gone), sight.stage)
        if sight.stage is Stage.OVER:
            outcome = outcome_of(path, sight.ending or {})
            self._work.close_ref(ref)
            return _Look(Observation(key, Phase.DONE, outcome=outcome), sight.stage)
        if sight.stage is Stage.UNSTARTED:
            return _Look(Observation(key, Phase.QUEUED), sight.stage)
        progress = progress_of(read_json(path / "progress.json"))
        return _Look(Observation(key, Phase.RUNNING, progress=progress), sight.stage, sight.pid)

    def _release(self, ref: str) -> None:
        self._work.close_ref(ref)
        self._running.pop(ref, None)

    def _forget(self, ref: str) -> None:
        self._running.pop(ref, None)
        watch = self._watches.pop(ref, None)
        if watch is not None:
            watch.close()
        child = self._children.get(ref)
        if child is not None and child.poll() is not None:
            del self._children[ref]

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Ask supervisors to end their attempts; `observe` says when they have."""
        return [await self._cancel(ref) for ref in refs]

    async def _cancel(self, asked: JobRef) -> CancelAnswer:
        if asked.key in self._planting:
            await asyncio.wait([self._planting[asked.key]])
        path = self._work.path(ref_of(asked.key))
        try:
            over = await asyncio.to_thread(self._ask_to_end, path)
        except FileNotFoundError:
            return CancelAnswer(asked.key, done=True, message="not known here")
        except OSError as error:
            return CancelAnswer(asked.key, done=False, message=self._disk(error))
        if not over:
            if asked.ref not in self._watches:
                await self.observe([asked])  # adopts or starts the supervisor, which then ends it
            watch = self._watches.get(asked.ref)
            if watch is not None:
                watch.tell_to_end()
        return CancelAnswer(asked.key, done=True)

    @staticmethod
    def _ask_to_end(path: Path) -> bool:
        """Leave the request; True if the attempt is over already."""
        if (path / "exit.json").exists():
            return True
        (path / "cancel").touch()
        return False

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """Phases and tasks of a process attempt, and the logs."""
        path = self._existing(ref)
        order = await asyncio.to_thread(read_json, path / "order.json") or {}
        return await asyncio.to_thread(parts_of, path, str(order.get("kind") or ""))

    def _existing(self, ref: JobRef) -> Path:
        path = self._work.path(ref_of(ref.key))
        if ref.ref != ref_of(ref.key) or not path.is_dir():
            raise DriverError(
                ErrorClass.PERMANENT, f"{self._here} knows no attempt {ref.key}; was it removed?"
            )
        return path

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """Bytes of `log.txt` (also as part "") or `supervisor.log`."""
        path = self._existing(ref)
        name = part or "log.txt"
        if name not in ("log.txt", "supervisor.log"):
            raise DriverError(
                ErrorClass.PERMANENT,
                f"attempt {ref.key} has no log '{part}'; there are log.txt and supervisor.log",
            )
        file = path / name
        if offset < 0:
            size = file.stat().st_size if file.exists() else 0
            offset = max(0, size + offset)
        while True:
            # Asked before reading: what is written before the end is then certainly read.
            over = (path / "exit.json").exists()
            data = await asyncio.to_thread(_read, file, offset)
            if data or not follow or over:
                end = over and len(data) < CHUNK
                yield LogChunk(offset, data, end)
                offset += len(data)
                if end or (not follow and len(data) < CHUNK):
                    return
            else:
                await asyncio.sleep(FOLLOW_S)


def _read(file: Path, offset: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(offset)
            return source.read(CHUNK)
    except FileNotFoundError:
        return b""


class LocalFactory:
    """Makes the local driver of each facility that names it."""

    name = NAME
    kinds = frozenset({JobKind.PROCESS, JobKind.SCRIPT})
    settings: type[BaseModel] = LocalSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> LocalDriver:
        """Make the driver; nothing is touched before `start`."""
        if not isinstance(settings, LocalSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be LocalSettings")
        return LocalDriver(facility, settings, host)
