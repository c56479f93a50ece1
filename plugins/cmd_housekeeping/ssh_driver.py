"""The driver `ssh`: scripts and process jobs at a facility reached over ssh.

An attempt is a directory and a supervisor at the far side that need neither the connection nor the
daemon. Each call of the driver is one command at the far side for all its attempts, carried out by
`remote/attempt.py`, which the driver puts there; the runner of process jobs is put there likewise.
A call whose answer was lost may arrive late: so each call that plants carries a token, and `find`
sets a new one before it says what is absent.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

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
    Ran,
    Refused,
    Safety,
    Unclear,
    Verb,
)
from cmd_housekeeping.connection import Connection, Connections, Lost
from cmd_housekeeping.ending import observation_of, parts_of
from cmd_housekeeping.far_orders import NO_PROGRAM, far_order, runner_program, with_runner
from cmd_housekeeping.naming import ref_of
from cmd_housekeeping.settings import SshSettings
from cmd_housekeeping.ssh_transport import install
from cmd_local.orders import BadOrder

NAME = "ssh"
ANSWER = b"\n#cmd-answer "
PIECE = 64 * 1024
READ = 4 * 1024 * 1024
PYTHON_FOUND_NO_FILE = 2
FOLLOW_S = (0.2, 2.0)
CLASSES = {
    "transient": ErrorClass.TRANSIENT,
    "fenced": ErrorClass.TRANSIENT,
    "not-yet": ErrorClass.NOT_YET,
    "permanent": ErrorClass.PERMANENT,
    NO_PROGRAM: ErrorClass.TRANSIENT,
}

Told = dict[str, Any]


class SshDriver:
    """One facility's scripts and process jobs over ssh. Keys are planted as directory names: FINDABLE."""

    safety: Mapping[Verb, Safety] = {Verb.SUBMIT: Safety.FINDABLE, Verb.CANCEL: Safety.IDEMPOTENT}

    def __init__(
        self, facility: FacilityInfo, settings: SshSettings, host: Host, connection: Connection
    ) -> None:
        self.poll_s = settings.poll_s
        self.connection = connection
        self._facility = facility
        self._settings = settings
        self._host = host
        text = files("cmd_housekeeping.remote").joinpath("attempt.py").read_bytes()
        self._text = text
        digest = hashlib.sha256(text).hexdigest()[:12]
        self._program = f"{settings.work_dir}/program/attempt-{digest}.py"
        self._token = ""
        self._lost_calls = 0
        self._shut_out = 0
        self._planting: dict[str, asyncio.Task[Accepted | Refused]] = {}
        self._runner_folder = ""

    @property
    def _here(self) -> str:
        return f"driver '{NAME}' at facility {self._facility.name}"

    # ---- life

    async def start(self) -> None:
        """Connect, see that our program is there and become the only one who plants for this
        facility. Raises DriverError."""
        self.connection.hold(self)
        self._token = secrets.token_hex(16)
        keep = self._settings.keep_days
        fields = {"token": self._token, "owner": self._owner, "keep_s": keep and keep * 86_400}
        await self._look("prepare", **fields)
        self._shut_out = self._lost_calls

    async def stop(self) -> None:
        """Let go of the connection; attempts go on."""
        if self._planting:
            await asyncio.wait(list(self._planting.values()))
        await self.connection.let_go(self)

    @property
    def _owner(self) -> str:
        return hashlib.sha256(self._facility.name.encode()).hexdigest()[:16]

    # ---- speaking with the far side

    async def _ask(self, verb: str, **fields: Any) -> tuple[Told, bytes]:
        """One request to our program at the far side: (answer, blob).

        Raises what the connection raises, and DriverError of the class the program told.
        """
        settings = self._settings
        request = json.dumps({"verb": verb, **fields}).encode()
        argv = [settings.python, "-I", "-S", self._program, settings.work_dir]
        ran = await self.connection.run(argv, request)
        if ran.code == PYTHON_FOUND_NO_FILE:
            # Its name tells its content, so it is put there only where it is missing.
            await self.connection.put(self._text, self._program)
            ran = await self.connection.run(argv, request)
        told, blob = _parse(ran.stdout)
        if told is None:
            raise self._no_answer(verb, ran)
        if not told.get("ok"):
            kind = CLASSES.get(str(told.get("kind")), ErrorClass.TRANSIENT)
            raise DriverError(kind, f"{self._here}: {told.get('problem')}")
        return told, blob

    def _no_answer(self, verb: str, ran: Ran) -> DriverError:
        """What a command without an answer means: mostly that nobody knows how far it came."""
        words = ran.stderr.decode(errors="replace").strip()[-500:] or "it wrote nothing"
        message = f"{self._here}: no answer to '{verb}' (exit code {ran.code}): {words}"
        if ran.code in (126, 127):
            cannot = f"; the facility's setting 'python' is {self._settings.python}: is it there?"
            return DriverError(ErrorClass.PERMANENT, message + cannot)
        return Lost(message)

    async def _shut_out_lost_calls(self) -> None:
        """Make sure that no call whose answer was lost can still plant. DriverError TRANSIENT if
        that cannot be made sure now."""
        lost = self._lost_calls
        if lost == self._shut_out:
            return
        # From the moment the request leaves, our former token may be worth nothing.
        self._token = secrets.token_hex(16)
        await self._look("find", refs=[], token=self._token, owner=self._owner)
        self._shut_out = max(self._shut_out, lost)

    async def _look(self, verb: str, **fields: Any) -> Told:
        """A request that may be said again: a lost answer is only TRANSIENT."""
        try:
            return (await self._ask(verb, **fields))[0]
        except Lost as error:
            raise DriverError(ErrorClass.TRANSIENT, str(error)) from error

    # ---- submit and find

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Plant and start attempts; an attempt planted before is taken as it is.

        Refused NOT_YET when slots or memory are taken, PERMANENT for an order that cannot be carried out,
        TRANSIENT when the machine cannot be reached or its disk refuses, UNKNOWN when the answer was
        lost on its way.
        """
        answers: list[Accepted | Refused] = []
        waiting: list[asyncio.Task[Accepted | Refused]] = []
        asked: list[dict[str, Any]] = []
        for order in orders:
            if order.key in self._planting:
                waiting.append(self._planting[order.key])
                continue
            try:
                asked.append(far_order(order, self._facility, self._settings, NAME))
            except BadOrder as error:
                answers.append(Refused(order.key, ErrorClass.PERMANENT, str(error)))
            except OSError as error:
                answers.append(
                    Refused(order.key, ErrorClass.TRANSIENT, f"a script cannot be read: {error}")
                )
        if asked:
            call = asyncio.create_task(self._plant(asked))
            for fields in asked:
                key = str(fields["key"])
                one = asyncio.create_task(_answer_of(call, key))
                self._planting[key] = one
                one.add_done_callback(partial(self._planted, key))
                waiting.append(one)
        # A deadline may end our waiting, but not the planting: `find` waits for that.
        answers += await asyncio.gather(*(asyncio.shield(task) for task in waiting))
        return answers

    def _planted(self, key: str, _: asyncio.Task[Accepted | Refused]) -> None:
        self._planting.pop(key, None)

    async def _with_runner(self, asked: Sequence[Told], anew: bool = False) -> list[Told]:
        """The orders with the place of the runner, which is put there if need be. DriverError
        TRANSIENT if that cannot be done now: nothing was planted then."""
        if not any(fields["kind"] == JobKind.PROCESS for fields in asked):
            return list(asked)
        if anew or not self._runner_folder:
            try:
                self._runner_folder = await install(
                    self.connection, self._settings.work_dir, runner_program()
                )
            except Lost as error:
                raise DriverError(ErrorClass.TRANSIENT, str(error)) from error
        return with_runner(asked, self._runner_folder)

    async def _plant(self, asked: Sequence[Told]) -> dict[str, Accepted | Refused]:
        """Answers by key; never raises a DriverError."""
        keys = [str(fields["key"]) for fields in asked]
        try:
            told = await self._ask_to_plant(await self._with_runner(asked))
            bare = {one["key"] for one in told if one.get("kind") == NO_PROGRAM}
            if bare:
                again = [fields for fields in asked if fields["key"] in bare]
                told = [one for one in told if one["key"] not in bare]
                told += await self._ask_to_plant(await self._with_runner(again, anew=True))
        except Lost as error:
            self._lost_calls += 1
            words = f"{error}; whether the job was started has to be looked up"
            return {key: Refused(key, ErrorClass.UNKNOWN, words) for key in keys}
        except DriverError as error:
            return {key: Refused(key, error.error_class, str(error)) for key in keys}
        answers: dict[str, Accepted | Refused] = {}
        for one in told:
            key = str(one["key"])
            if one["taken"]:
                answers[key] = Accepted(key, ref_of(key))
            else:
                words = f"{self._here}: {one['message']}"
                answers[key] = Refused(key, CLASSES[one["kind"]], words)
        return answers

    async def _ask_to_plant(self, asked: Sequence[Told]) -> list[Told]:
        """The far side's answers. Raises what `_ask` raises."""
        slots = self._facility.slots if self._settings.slots is None else self._settings.slots
        await self._shut_out_lost_calls()
        told, _ = await self._ask(
            "plant",
            owner=self._owner,
            token=self._token,
            slots=slots,
            memory=self._settings.memory,
            orders=list(asked),
        )
        return list(told["answers"])

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Whether attempts were planted there, by this daemon or a former one."""
        if not keys:
            return []
        under_way = [self._planting[key] for key in keys if key in self._planting]
        if under_way:
            await asyncio.wait(under_way)
        try:
            await self._shut_out_lost_calls()
            told = await self._look("find", refs=[ref_of(key) for key in keys])
        except DriverError as error:
            return [Unclear(key, str(error)) for key in keys]
        held = set(told["held"])
        return [Found(key, ref_of(key)) if ref_of(key) in held else Absent(key) for key in keys]

    # ---- observe and cancel

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Look at all attempts in one command. DriverError TRANSIENT if nobody can look now."""
        ours = [ref.ref for ref in refs if ref.ref == ref_of(ref.key)]
        told = await self._look("observe", refs=ours) if ours else {"seen": {}}
        where = self._facility.name
        return [observation_of(ref.key, told["seen"].get(ref.ref), where) for ref in refs]

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Ask supervisors to end their attempts; `observe` says when they have."""
        under_way = [self._planting[ref.key] for ref in refs if ref.key in self._planting]
        if under_way:
            await asyncio.wait(under_way)
        ours = [ref.ref for ref in refs if ref.ref == ref_of(ref.key)]
        if not ours:
            return [CancelAnswer(ref.key, done=True, message="not known there") for ref in refs]
        try:
            told = await self._look("cancel", refs=ours)
        except DriverError as error:
            return [CancelAnswer(ref.key, done=False, message=str(error)) for ref in refs]
        problems = told["problems"]
        return [
            CancelAnswer(ref.key, ref.ref not in problems, str(problems.get(ref.ref, "")))
            for ref in refs
        ]

    # ---- drill-down

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """Phases and tasks of a process attempt, and the logs with their sizes and their place."""
        return parts_of(await self._look("inspect", ref=self._known(ref)))

    def _known(self, ref: JobRef) -> str:
        if ref.ref != ref_of(ref.key):
            raise DriverError(ErrorClass.PERMANENT, f"{self._here} knows no attempt {ref.key}")
        return ref.ref

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """Bytes of `log.txt` (also as part "") or `supervisor.log`. While following, a lost
        connection only makes a pause."""
        name, where = part or "log.txt", self._known(ref)
        pause = FOLLOW_S[0]
        while True:
            try:
                told, data = await self._ask("log", ref=where, part=name, offset=offset, limit=READ)
            except DriverError as error:
                if error.error_class is ErrorClass.PERMANENT or not follow:
                    raise
                await asyncio.sleep(FOLLOW_S[1])
                continue
            offset = told["offset"]
            last = told["over"] and not told["more"]
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                yield LogChunk(offset, piece, last and start + PIECE >= len(data))
                offset += len(piece)
            if last and not data:
                yield LogChunk(offset, b"", True)
            if last or (not follow and not told["more"]):
                return
            if not told["more"]:
                pause = FOLLOW_S[0] if data else min(pause * 1.5, FOLLOW_S[1])
                await asyncio.sleep(pause)


def _parse(output: bytes) -> tuple[Told | None, bytes]:
    """The answer in a command's output, past what login files printed; None if there is none."""
    at = output.find(ANSWER)
    line, found, rest = output[at + len(ANSWER) :].partition(b"\n")
    if at < 0 or not found:
        return None, b""
    with contextlib.suppress(ValueError):
        size, blob = (int(number) for number in line.split())
        if len(rest) >= size + blob:
            told = json.loads(rest[:size])
            if isinstance(told, dict):
                return told, rest[size : size + blob]
    return None, b""


async def _answer_of(
    call: "asyncio.Task[dict[str, Accepted | Refused]]", key: str
) -> Accepted | Refused:
    """One key's answer of a call for many."""
    answers = await call
    lost = Refused(key, ErrorClass.UNKNOWN, f"the far side gave no answer for {key}")
    return answers.get(key, lost)


class SshFactory:
    """Makes the ssh driver of each facility that names it."""

    name = NAME
    kinds = frozenset({JobKind.PROCESS, JobKind.SCRIPT})
    settings: type[BaseModel] = SshSettings

    def __init__(self, connections: Connections | None = None) -> None:
        self.connections = connections or Connections()

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> SshDriver:
        """Make the driver; nothing is reached before `start`."""
        if not isinstance(settings, SshSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be SshSettings")
        connection = self.connections.of(facility.name, settings)
        return SshDriver(facility, settings, host, connection)
