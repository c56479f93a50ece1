"""The driver `spool`: jobs of a group become entries of a spool."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pydantic import BaseModel

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    DriverError,
    ErrorClass,
    FacilityInfo,
    Failure,
    Found,
    Host,
    JobKind,
    JobOrder,
    JobRef,
    LogChunk,
    Observation,
    Outcome,
    Part,
    Phase,
    Progress,
    QuantaCount,
    Refused,
    Safety,
    Verb,
)
from cmd_spool.settings import SpoolSettings
from cmd_spool.spool import CANCELLED, Entry, Spool

T = TypeVar("T")

LOG = "log"
FOLLOW_S = 0.2
"""Seconds between two looks at a log that is followed."""


class SpoolDriver:
    """One facility's spool. The key is the entry's unique key there: filing twice is harmless."""

    safety: Mapping[Verb, Safety] = {
        Verb.SUBMIT: Safety.IDEMPOTENT,
        Verb.CANCEL: Safety.IDEMPOTENT,
    }

    def __init__(self, spool: Spool, facility: str, poll_s: float = 1.0) -> None:
        self.poll_s = poll_s
        self._spool = spool
        self._facility = facility
        self._thread: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Make the spool ready."""
        # One thread: a look-up waits for a filing under way, so that Absent is the truth.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            await self._in_thread("be made ready", self._spool.prepare)
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"the spool {self._spool.directory} of {self._facility} cannot be used: {error}",
            ) from error

    async def stop(self) -> None:
        """Let the call under way end; the entries stay where they are."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """File entries, all in one transaction. Nobody knows the fate of one that broke: UNKNOWN."""
        jobs = {order.key: _job(order) for order in orders}
        taken, away = await self._in_thread(
            "take entries", lambda: self._spool.put(jobs), ErrorClass.UNKNOWN
        )
        accepted = [Accepted(key, str(number)) for key, number in taken.items()]
        return [*accepted, *(Refused(key, _class_of(why), why) for key, why in away.items())]

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent]:
        """Look for keys in the queue."""
        entries = await self._in_thread("be read", lambda: self._spool.get(keys))
        return [Found(k, str(entries[k].id)) if k in entries else Absent(k) for k in keys]

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """One question for all of them."""
        keys = [ref.key for ref in refs]
        entries = await self._in_thread("be read", lambda: self._spool.get(keys))
        return [_observation(ref, entries.get(ref.key)) for ref in refs]

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Ask for the end of entries; those that are over stay as they are."""
        keys = [ref.key for ref in refs]
        await self._in_thread("cancel entries", lambda: self._spool.cancel(keys))
        return [CancelAnswer(key, done=True) for key in keys]

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The one log of an entry."""
        entry = await self._entry(ref)
        return [Part(LOG, "log", state=entry.state, log=self._spool.log(entry.id).exists())]

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """The bytes of the log, and what comes until the entry is over."""
        if part != LOG:
            raise DriverError(ErrorClass.PERMANENT, f"entry {ref.ref} has no part {part!r}")
        while True:
            # The state first: what is written until the entry is over is in the log by then.
            entry = await self._entry(ref)
            data = await asyncio.to_thread(_bytes_of, self._spool, entry.id)
            over = entry.state == "over"
            start = max(0, len(data) + offset) if offset < 0 else offset
            if data[start:] or over or not follow:
                yield LogChunk(start, data[start:], end=over)
            if over or not follow:
                return
            offset = max(start, len(data))
            await asyncio.sleep(FOLLOW_S)

    async def _entry(self, ref: JobRef) -> Entry:
        entries = await self._in_thread("be read", lambda: self._spool.get([ref.key]))
        if ref.key not in entries:
            raise DriverError(
                ErrorClass.PERMANENT, f"the spool of {self._facility} has no entry for {ref.key}"
            )
        return entries[ref.key]

    async def _in_thread(
        self, what: str, work: Callable[[], T], broken: ErrorClass = ErrorClass.TRANSIENT
    ) -> T:
        """Do blocking work in the driver's thread; what the spool raises becomes a DriverError."""
        if self._thread is None:
            raise DriverError(ErrorClass.TRANSIENT, f"the spool of {self._facility} is stopped")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise DriverError(
                broken, f"the spool of {self._facility} could not {what}: {error}"
            ) from error


def _job(order: JobOrder) -> dict[str, Any]:
    """What the spool needs to know of an order."""
    return {
        "kind": order.kind,
        "size": int(order.share.get("size") or 1),
        "seconds": order.params.get("seconds", 0.0),
        "exit_code": order.params.get("exit_code", 0),
        "output_run": order.output_run,
    }


def _class_of(why: str) -> ErrorClass:
    """A closed spool opens again; any other refusal is for good."""
    return ErrorClass.NOT_YET if why == "closed" else ErrorClass.PERMANENT


def _observation(ref: JobRef, entry: Entry | None) -> Observation:
    if entry is None or str(entry.id) != ref.ref:
        return Observation(ref.key, Phase.GONE, message=f"the spool has no entry {ref.ref}")
    if entry.state == "over":
        return Observation(ref.key, Phase.DONE, _outcome(entry))
    total = Progress(total=entry.job["size"])
    return Observation(ref.key, Phase(entry.state.upper()), progress=total)


def _outcome(entry: Entry) -> Outcome:
    ok = entry.exit_code == 0
    message = "" if ok else f"exit code {entry.exit_code}"
    if entry.exit_code == CANCELLED:
        message = "cancelled"
    size = entry.job["size"]
    quanta = {"copy": QuantaCount(expected=size, successful=size * ok, failed=size * (not ok))}
    process = entry.job["kind"] == JobKind.PROCESS
    return Outcome(
        ok=ok,
        message=message,
        exit_code=entry.exit_code,
        quanta=quanta if process else {},
        failures=() if ok else (Failure("copy" if process else "", "", message, entry.exit_code),),
        output_run=entry.job["output_run"] if process else None,
        started_at=_microseconds(entry.began),
        finished_at=_microseconds(entry.ended),
    )


def _microseconds(at: float | None) -> int | None:
    return None if at is None else round(at * 1_000_000)


def _bytes_of(spool: Spool, entry_id: int) -> bytes:
    try:
        return spool.log(entry_id).read_bytes()
    except FileNotFoundError:
        return b""  # not begun, or cancelled before it began


class SpoolFactory:
    """Makes the driver of each facility whose configuration names `spool`."""

    name = "spool"
    kinds = frozenset({JobKind.PROCESS, JobKind.COLLECT, JobKind.SCRIPT})
    settings: type[BaseModel] = SpoolSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> SpoolDriver:
        """Make a driver; the spool is not touched before it starts."""
        if not isinstance(settings, SpoolSettings):
            raise TypeError("settings of the driver 'spool' must be SpoolSettings")
        directory = settings.directory or host.state_dir / "spool" / facility.name
        return SpoolDriver(Spool(directory), facility.name, settings.poll_s)
