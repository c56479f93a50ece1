"""The driver `arc`: scripts at a facility's ARC computing element.

The key is the job's name. A-REX does not keep names unique, so each submission looks first, writes
down that it is about to send, and a submission whose answer was lost is absent only when it could
have arrived. States may lag by half a minute, and a kill takes one: everything here is patient.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence

import structlog
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
from cmd_housekeeping.arc_names import JobNames
from cmd_housekeeping.arc_records import Record, Records
from cmd_housekeeping.arc_states import phase_of, takes_input, verdict
from cmd_housekeeping.arex import Arex, Json, first
from cmd_housekeeping.payload import prepare
from cmd_housekeeping.planting import Plantings
from cmd_housekeeping.settings import ArcSettings
from cmd_housekeeping.xrsl import ENDING, LOG, SCRIPT, WRAPPER, description, wrapper
from cmd_local.orders import BadOrder

NAME = "arc"
PIECE = 64 * 1024
COLLECT_WAIT_S = 1.0
KILL_AGAIN_S = 120.0

log = structlog.get_logger()


class ArcDriver:
    """One facility's scripts through A-REX. Keys are planted as job names: FINDABLE."""

    safety: Mapping[Verb, Safety] = {Verb.SUBMIT: Safety.FINDABLE, Verb.CANCEL: Safety.IDEMPOTENT}

    def __init__(self, facility: FacilityInfo, settings: ArcSettings, host: Host) -> None:
        self.poll_s = settings.poll_s
        self._facility = facility
        self._settings = settings
        self._host = host
        self._arex = Arex(facility.name, settings)
        self._names = JobNames(self._arex)
        self._records = Records(host.state_dir / NAME / facility.name)
        self._open: set[str] = set()
        self._planting = Plantings(self._plant)
        self._one_at_a_time = asyncio.Lock()
        self._collecting: dict[str, asyncio.Task[None]] = {}
        self._problems: dict[str, str] = {}
        self._saving: dict[str, asyncio.Lock] = {}
        self._killed_at: dict[str, int] = {}

    @property
    def _here(self) -> str:
        return f"driver '{NAME}' at facility {self._facility.name}"

    # ---- life

    async def start(self) -> None:
        """Reach the computing element with our credential, and recall what is open there."""
        try:
            self._records.root.mkdir(parents=True, exist_ok=True)
            self._open = await asyncio.to_thread(self._records.open_keys)
        except OSError as error:
            raise DriverError(ErrorClass.TRANSIENT, f"{self._here}: {error}") from error
        await self._arex.list_ids()

    async def stop(self) -> None:
        """Let go; jobs go on."""
        await self._planting.close()
        for task in self._collecting.values():
            task.cancel()
        if self._collecting:
            await asyncio.wait(list(self._collecting.values()))
        await self._arex.close()

    # ---- submit and find

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Look for each attempt by its name, and submit in one call those that are not there."""
        return await self._planting.submit(orders)

    async def _plant(self, orders: Mapping[str, JobOrder]) -> dict[str, Accepted | Refused]:
        """Answers by key; never raises a DriverError."""
        answers: dict[str, Accepted | Refused] = {}
        texts: dict[str, str] = {}
        async with self._one_at_a_time:
            try:
                known = await self._known(list(orders))
                for key, order in orders.items():
                    if key in known:
                        answers[key] = Accepted(key, known[key].id)
                    elif refusal := self._not_now(key, len(texts)):
                        answers[key] = refusal
                    else:
                        texts[key] = self._describe(order, answers)
                texts = {key: text for key, text in texts.items() if text}
                if texts:
                    answers |= await self._send(texts)
            except DriverError as error:
                for key in orders.keys() - answers.keys():
                    answers[key] = Refused(key, error.error_class, str(error))
            except OSError as error:
                words = f"{self._here}: {self._records.root} gives an error: {error}"
                for key in orders.keys() - answers.keys():
                    answers[key] = Refused(key, ErrorClass.TRANSIENT, words)
        for key in answers:
            await self._upload_quietly(key)
        return answers

    def _not_now(self, key: str, more: int) -> Refused | None:
        """Why this attempt may not be sent now."""
        slots = self._facility.slots if self._settings.slots is None else self._settings.slots
        wait = self._unsettled_s(self._records.read(key))
        if wait > 0:
            words = f"{self._here}: a former submission of it may still arrive, for {wait:.0f} s"
            return Refused(key, ErrorClass.NOT_YET, words)
        if len(self._open) + more >= slots:
            words = f"{self._here}: all {slots} slots are taken"
            return Refused(key, ErrorClass.NOT_YET, words)
        return None

    def _unsettled_s(self, record: Record | None) -> float:
        """Seconds for which a submission without an answer may still arrive."""
        if record is None or record.id:
            return 0.0
        return self._settings.settle_s - (self._host.now() - record.sent_at) / 1e6

    def _describe(self, order: JobOrder, answers: dict[str, Accepted | Refused]) -> str:
        """The job description, with its files kept for the upload; "" if it was refused."""
        settings = self._settings
        try:
            payload = prepare(order, settings, NAME)
            text = description(order, payload, settings.queue, settings.runtime_environments)
        except BadOrder as error:
            answers[order.key] = Refused(order.key, ErrorClass.PERMANENT, str(error))
            return ""
        files = {WRAPPER: wrapper(order, payload, settings.grace_s)}
        if payload.text is not None:
            files[SCRIPT] = payload.text
        self._records.keep_files(order.key, files)
        return text

    async def _send(self, texts: Mapping[str, str]) -> dict[str, Accepted | Refused]:
        """Submit descriptions; what we are about to do is written down before."""
        for key in texts:
            self._records.write(Record(key, sent_at=self._host.now()))
        try:
            jobs = await self._arex.submit(list(texts.values()))
        except DriverError as error:
            if error.error_class is not ErrorClass.UNKNOWN:
                for key in texts:
                    self._records.forget(key)
            return {key: Refused(key, error.error_class, str(error)) for key in texts}
        answers: dict[str, Accepted | Refused] = {}
        for key, job in zip(texts, jobs, strict=True):
            if job.id and 200 <= job.status < 300:
                self._records.write(Record(key, job.id, self._host.now()))
                self._names.learn(job.id, key)
                self._open.add(key)
                answers[key] = Accepted(key, job.id)
            else:
                self._records.forget(key)
                busy = job.status == 429 or job.status >= 500
                kind = ErrorClass.TRANSIENT if busy else ErrorClass.PERMANENT
                words = f"{self._here}: not taken ({job.status}): {job.reason}"
                answers[key] = Refused(key, kind, words)
        return answers

    async def _upload_quietly(self, key: str) -> None:
        """Upload the files of a job that waits for them; observing does it again if it fails."""
        try:
            record = self._records.read(key)
            if record is None or not record.id or record.uploaded:
                return
            folder = self._records.folder(key)
            for name in (SCRIPT, WRAPPER):
                if (folder / name).exists():
                    await self._arex.upload(record.id, name, (folder / name).read_text())
            record = self._records.read(key) or record
            self._records.change(record, uploaded=True)
            self._problems.pop(key, None)
        except (DriverError, OSError) as error:
            self._problems[key] = f"its files were not uploaded yet: {error}"

    async def _known(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records of those keys that the computing element has, by our notes or by its own
        list. Among jobs of one name the oldest is adopted and the others are reported."""
        found = {}
        for key in keys:
            record = self._records.read(key)
            if record is not None and record.id:
                found[key] = record
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        await self._names.refresh()
        for key in missing:
            ids = self._names.jobs_named(key)
            if ids:
                former = self._records.read(key) or Record(key)
                record = self._records.change(former, id=ids[0], duplicates=tuple(ids[1:]))
                found[key] = record
                if self._records.outcome(key) is None:
                    self._open.add(key)
                if ids[1:]:
                    log.warning("jobs of the same name", key=key, adopted=ids[0], others=ids[1:])
        return found

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Which attempts the computing element has, also those of a former daemon."""
        if not keys:
            return []
        await self._planting.settled(keys)
        try:
            async with self._one_at_a_time:
                known = await self._known(keys)
                return [self._found(key, known.get(key)) for key in keys]
        except (DriverError, OSError) as error:
            return [Unclear(key, str(error)) for key in keys]

    def _found(self, key: str, known: Record | None) -> Found | Absent | Unclear:
        if known is not None:
            return Found(key, known.id)
        wait = self._unsettled_s(self._records.read(key))
        if wait > 0:
            return Unclear(key, f"{self._here}: sent, no answer; may arrive for {wait:.0f} s more")
        if self._names.nameless:
            some = ", ".join(sorted(self._names.nameless)[:3])
            return Unclear(key, f"{self._here}: jobs whose name is not told yet: {some}")
        self._records.forget(key)
        return Absent(key)

    # ---- observe

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """The states of all attempts by one question; outputs of those that are over are brought
        here first, and then the jobs are cleaned."""
        over = {ref.key: self._records.outcome(ref.key) for ref in refs}
        ids = [ref.ref for ref in refs if over[ref.key] is None]
        states = await self._arex.act("status", ids) if ids else {}
        seen = []
        for ref in refs:
            if over[ref.key] is None:
                await self._tend(ref, states.get(ref.ref))
        started = [self._collecting[ref.key] for ref in refs if ref.key in self._collecting]
        if started:
            await asyncio.wait(started, timeout=COLLECT_WAIT_S)
        for ref in refs:
            seen.append(self._observation(ref, states.get(ref.ref)))
        return seen

    async def _tend(self, ref: JobRef, told: Json | None) -> None:
        """Do what this state asks of us: upload, kill again, bring the output."""
        if told is None or told["status-code"] == 404:
            return
        record = self._records.read(ref.key)
        if record is None or record.id != ref.ref:
            record = self._records.write(Record(ref.key, ref.ref, self._host.now(), uploaded=True))
            self._open.add(ref.key)
        state = first(told.get("state"))
        phase = phase_of(state)
        if phase is Phase.DONE:
            if ref.key not in self._collecting:
                task = asyncio.create_task(self._collect(record, state))
                self._collecting[ref.key] = task
                task.add_done_callback(lambda _: self._collecting.pop(ref.key, None))
        elif record.cancelled:
            since = self._host.now() - self._killed_at.get(ref.key, 0)
            if since > KILL_AGAIN_S * 1e6:
                self._killed_at[ref.key] = self._host.now()
                await self._arex.act("kill", [ref.ref])
        elif takes_input(state) and not record.uploaded:
            await self._upload_quietly(ref.key)

    def _observation(self, ref: JobRef, told: Json | None) -> Observation:
        outcome = self._records.outcome(ref.key)
        if outcome is not None:
            return Observation(ref.key, Phase.DONE, outcome=outcome)
        if told is None or told["status-code"] == 404:
            gone = f"{self._here}: the computing element knows no job {ref.ref}"
            return Observation(ref.key, Phase.GONE, message=gone)
        state = first(told.get("state"))
        phase = phase_of(state)
        if phase is Phase.GONE:
            gone = f"{self._here}: job {ref.ref} was wiped before its output was brought here"
            return Observation(ref.key, Phase.GONE, message=gone)
        record = self._records.read(ref.key)
        words = [f"the computing element says {state or told.get('reason')}"]
        if phase is Phase.DONE:
            phase = Phase.RUNNING
            words.append("its output is being brought here")
        words += [self._problems[ref.key]] if ref.key in self._problems else []
        if record is not None and record.duplicates:
            others = ", ".join(record.duplicates)
            words.append(f"there are more jobs of this name, kill and clean them: {others}")
        return Observation(ref.key, phase, message="; ".join(words))

    async def _collect(self, record: Record, state: str) -> None:
        """Bring an ended job's output here, write its outcome down, then clean the job."""
        key = record.key
        folder = self._records.folder(key)
        try:
            told = (await self._arex.act("info", [record.id])).get(record.id, {})
            async with self._lock(key):
                await self._arex.save(record.id, LOG, folder / LOG)
                (folder / ENDING).unlink(missing_ok=True)
                await self._arex.save(record.id, ENDING, folder / ENDING)
            record = self._records.read(key) or record
            outcome = verdict(state, told, folder, self._facility.name, record)
            self._records.keep_outcome(key, outcome)
        except (DriverError, OSError, ValueError) as error:
            self._problems[key] = f"its output could not be brought here yet: {error}"
            return
        self._open.discard(key)
        self._problems.pop(key, None)
        self._killed_at.pop(key, None)
        try:
            await self._arex.act("clean", [record.id])
        except DriverError as error:
            log.warning("a job was not cleaned", job=record.id, problem=str(error))
        self._host.wake(self._facility.name, NAME)

    def _lock(self, key: str) -> asyncio.Lock:
        return self._saving.setdefault(key, asyncio.Lock())

    # ---- cancel

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Ask for the end of jobs; observing says when they have ended, and asks again."""
        await self._planting.settled(ref.key for ref in refs)
        open_refs = [ref for ref in refs if self._records.outcome(ref.key) is None]
        problem = ""
        told: Mapping[str, Json] = {}
        try:
            for ref in open_refs:
                record = self._records.read(ref.key) or Record(ref.key, ref.ref, uploaded=True)
                self._records.change(record, cancelled=True)
                self._killed_at[ref.key] = self._host.now()
            if open_refs:
                told = await self._arex.act("kill", [ref.ref for ref in open_refs])
        except (DriverError, OSError) as error:
            problem = str(error)
        answers = []
        for ref in refs:
            code = 200 if ref not in open_refs else told.get(ref.ref, {}).get("status-code", 0)
            done = code == 404 or 200 <= code < 300
            words = "" if done else problem or f"{self._here}: the kill was answered with {code}"
            answers.append(CancelAnswer(ref.key, done, words))
        return answers

    # ---- drill-down

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The job as the computing element tells it, and the log."""
        record = self._known_record(ref)
        size = await self._bring_log(record)
        outcome = self._records.outcome(ref.key)
        state, words = "over", ""
        if outcome is None:
            told = (await self._arex.act("info", [ref.ref])).get(ref.ref, {})
            state, words = "running", json.dumps(told)[:2000]
        return [
            Part(ref.ref, "job", state, message=words),
            Part(LOG, "log", counts={"bytes": size}, log=True),
        ]

    def _known_record(self, ref: JobRef) -> Record:
        record = self._records.read(ref.key)
        if record is None or record.id != ref.ref:
            raise DriverError(ErrorClass.PERMANENT, f"{self._here} knows no attempt {ref.key}")
        return record

    async def _bring_log(self, record: Record) -> int:
        """Bring what is new of a log here; its bytes."""
        file = self._records.folder(record.key) / LOG
        async with self._lock(record.key):
            if self._records.outcome(record.key) is None:
                return await self._arex.save(record.id, LOG, file)
        return file.stat().st_size if file.exists() else 0

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """Bytes of `log.txt` (also as part ""); while the job runs, what it has written so far."""
        record = self._known_record(ref)
        if part not in ("", LOG):
            raise DriverError(ErrorClass.PERMANENT, f"attempt {ref.key} has no log '{part}'")
        file = self._records.folder(ref.key) / LOG
        while True:
            # Asked before reading: what is there at the end is then certainly read.
            over = self._records.outcome(ref.key) is not None
            try:
                size = await self._bring_log(record)
            except DriverError as error:
                if error.error_class is ErrorClass.PERMANENT or not follow:
                    raise
                size = 0
            offset = max(0, size + offset) if offset < 0 else offset
            while size > offset:
                with file.open("rb") as source:
                    source.seek(offset)
                    data = await asyncio.to_thread(source.read, PIECE)
                if not data:
                    break
                yield LogChunk(offset, data, over and offset + len(data) >= size)
                offset += len(data)
                if over and offset >= size:
                    return
            if over:
                yield LogChunk(offset, b"", True)
                return
            if not follow:
                return
            await asyncio.sleep(min(self.poll_s, 10.0))


class ArcFactory:
    """Makes the ARC driver of each facility that names it."""

    name = NAME
    kinds = frozenset({JobKind.SCRIPT})
    settings: type[BaseModel] = ArcSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> ArcDriver:
        """Make the driver; nothing is reached before `start`."""
        if not isinstance(settings, ArcSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be ArcSettings")
        return ArcDriver(facility, settings, host)
