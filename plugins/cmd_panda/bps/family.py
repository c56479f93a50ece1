"""The family of process jobs: each attempt is one BPS workflow.

An order is planted at the facility, as a directory whose name follows from the key: that is the submission
as the daemon knows it, and it is certain. What comes of it there (a graph, a request to iDDS, later the
counting) may take hours and is done by a program that needs neither the daemon nor the connection, see
`stack/bps_attempt.py`. Here its records are read, together with what the watch sees of PanDA.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

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
    Part,
    Phase,
    Progress,
    Refused,
    Unclear,
)
from cmd_housekeeping.naming import ref_of
from cmd_local.orders import BadOrder
from cmd_panda.bps.agents import BpsAgents, site_of
from cmd_panda.bps.commands import VERBS, RequestCommands
from cmd_panda.bps.endings import cancelled, outcome_of
from cmd_panda.bps.following import Following, Record, Seen, is_sent
from cmd_panda.bps.looking import parts_of_workflow, read_workflow_log
from cmd_panda.bps.rendering import MARK, far_order, parts_of, reference
from cmd_panda.errors import ErrorTable
from cmd_panda.settings import NAME
from cmd_panda.work import Place

NOTES = {
    "planted": "waits to be worked on at the facility",
    "graph": "building the quantum graph",
    "sending": "sending the workflow to iDDS",
    "waiting": "waiting",
}

log = structlog.get_logger()


class BpsWork:
    """The process jobs of one facility."""

    kinds = frozenset({JobKind.PROCESS})
    mark = MARK
    commands: frozenset[Command] = frozenset(VERBS)

    def __init__(self, place: Place) -> None:
        self._place = place
        self._table = ErrorTable(place.settings.errors, place.settings.passive, place.facility.name)
        self._agents = BpsAgents(place)
        self._commands = RequestCommands(place)
        self._following = Following(place, self._table)
        self._sent: dict[str, Record] = {}
        """Records of attempts that iDDS has, by reference: they change no more until we say so."""
        self._planting: dict[str, asyncio.Task[Accepted | Refused]] = {}

    async def start(self) -> None:
        """Nothing: the program at the facility is started when there is something to ask."""

    async def stop(self) -> None:
        """Let go of the programs at the facility; what they have begun goes on."""
        if self._planting:
            await asyncio.wait(list(self._planting.values()))
        await self._agents.close()
        self._sent.clear()

    # ---- submit and find

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Plant the orders at the facility; one that is there is taken as it is.

        Refused PERMANENT for an order that cannot be carried out there, TRANSIENT or UNKNOWN as the
        facility's program fails.
        """
        answers: list[Accepted | Refused] = []
        asked: dict[str, list[JobOrder]] = {}
        for order in orders:
            if order.key not in self._planting:
                asked.setdefault(order.stack, []).append(order)
        waiting = [self._planting[each.key] for each in orders if each.key in self._planting]
        for stack, mine in asked.items():
            fields: dict[str, dict[str, Any]] = {}
            for order in mine:
                try:
                    fields[order.key] = far_order(order, site_of(self._place))
                except BadOrder as error:
                    answers.append(Refused(order.key, ErrorClass.PERMANENT, str(error)))
                except DriverError as error:
                    answers.append(Refused(order.key, error.error_class, str(error)))
            call = asyncio.create_task(self._plant(stack, fields))
            for key in fields:
                one = asyncio.create_task(_answer_of(call, key))
                self._planting[key] = one
                one.add_done_callback(partial(self._planted, key))
                waiting.append(one)
        # A deadline may end our waiting, but not the planting: `find` waits for that.
        answers += await asyncio.gather(*(asyncio.shield(task) for task in waiting))
        return answers

    def _planted(self, key: str, _: asyncio.Task[Accepted | Refused]) -> None:
        self._planting.pop(key, None)

    async def _plant(
        self, stack: str, fields: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Accepted | Refused]:
        """Answers by key; never raises a DriverError."""
        if not fields:
            return {}
        began = False
        try:
            await self._agents.ask(stack, "ping", {})
            began = True
            await self._agents.ask(stack, "plant", {"orders": list(fields.values())})
        except DriverError as error:
            # Whether a program that died had planted them shows when they are looked up.
            lost = began and error.error_class is ErrorClass.TRANSIENT
            error_class = ErrorClass.UNKNOWN if lost else error.error_class
            return {key: Refused(key, error_class, str(error)) for key in fields}
        return {key: Accepted(key, reference(key, stack)) for key in fields}

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Whether attempts were planted at the facility, in whichever stack."""
        under_way = [self._planting[key] for key in keys if key in self._planting]
        if under_way:
            await asyncio.wait(under_way)
        refs = {ref_of(key): key for key in keys}
        found: dict[str, str] = {}
        problem = ""
        if self._place.facility.drivers.get(JobKind.PROCESS) != NAME:
            return [Absent(key) for key in keys]  # no process jobs of this driver here
        for stack in self._place.facility.stacks:
            try:
                told = await self._agents.ask(stack, "find", {"refs": list(refs)})
            except DriverError as error:
                problem = str(error)
                continue
            found |= {refs[ref]: stack for ref in told["held"]}
        return [
            Found(key, reference(key, found[key]))
            if key in found
            else Unclear(key, problem)
            if problem
            else Absent(key)
            for key in keys
        ]

    # ---- observe

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Tell how far attempts are: by the facility until iDDS has them, then by PanDA, and at last by
        what the facility has counted."""
        records, problems = await self._records([ref.ref for ref in refs])
        sent = {ref.ref: records[ref.ref] for ref in refs if is_sent(records.get(ref.ref))}
        seen = await self._following.look(sent)
        answers = []
        for ref in refs:
            if ref.ref in seen:
                answers.append(seen[ref.ref].observation(ref.key))
            elif ref.ref in records:
                answers.append(self._at_facility(ref.key, records[ref.ref]))
            else:
                note = problems.get(ref.ref, f"{self._place.here} has no '{ref.ref}'")
                answers.append(Observation(ref.key, Phase.QUEUED, progress=Progress(note=note)))
        await self._finish(seen)
        return answers

    async def _records(self, refs: Sequence[str]) -> tuple[dict[str, Record], dict[str, str]]:
        """(what the facility has of each, why some cannot be told)."""
        records: dict[str, Record] = {}
        problems: dict[str, str] = {}
        asked: dict[str, dict[str, str]] = {}
        for ref in refs:
            parts = parts_of(ref)
            if ref in self._sent:
                records[ref] = self._sent[ref]
            elif parts is not None:
                asked.setdefault(parts[0], {})[parts[1]] = ref
        for stack, mine in asked.items():
            try:
                told = await self._agents.ask(stack, "look", {"refs": list(mine)})
            except DriverError as error:
                problems |= dict.fromkeys(mine.values(), str(error))
                continue
            for directory, ref in mine.items():
                record = records[ref] = told["seen"][directory]
                if is_sent(record):
                    self._sent[ref] = record
        return records, problems

    def _at_facility(self, key: str, record: Record) -> Observation:
        """An attempt that iDDS does not have: not yet, or no more."""
        stage = record["stage"]
        if stage == "missing":
            words = (
                f"its directory at facility {self._place.facility.name} is gone: was it removed?"
            )
            return Observation(key, Phase.GONE, message=words)
        if stage == "over":
            return Observation(key, Phase.DONE, outcome_of(record, self._place.facility.name))
        if stage == "cancelled":
            return Observation(key, Phase.DONE, cancelled())
        if record.get("finish") is not None:
            note = "counting its quanta"
            if stage == "waiting":
                note = str(record.get("message") or note)
            total = sum((record.get("quanta") or {}).values())
            return Observation(key, Phase.RUNNING, progress=Progress(total=total, note=note))
        note = str(record.get("message") or NOTES.get(stage, stage))
        phase = Phase.QUEUED if stage == "planted" else Phase.RUNNING
        return Observation(key, phase, progress=Progress(note=note))

    async def _finish(self, seen: Mapping[str, Seen]) -> None:
        """Have the quanta of workflows that are over counted at the facility."""
        asked: dict[str, list[str]] = {}
        told = await self._following.ends(seen)
        for ref in told:
            asked.setdefault(_at(ref)[0], []).append(ref)
        for stack, refs in asked.items():
            attempts = [{"ref": _at(ref)[1], **told[ref]} for ref in refs]
            try:
                await self._agents.ask(stack, "finish", {"attempts": attempts})
            except DriverError as error:
                log.warning(
                    "quanta cannot be counted now",
                    facility=self._place.facility.name,
                    problem=str(error),
                )
                continue
            for ref in refs:
                if (record := self._sent.pop(ref, None)) is not None:
                    self._commands.forget(int(record["request"]))

    # ---- cancel and control

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Have nothing more sent, and requests that iDDS has aborted; `observe` says when they are."""
        asked: dict[str, dict[str, JobRef]] = {}
        answers = []
        for ref in refs:
            parts = parts_of(ref.ref)
            if parts is None:
                answers.append(CancelAnswer(ref.key, done=True, message="nothing is known of it"))
            else:
                asked.setdefault(parts[0], {})[parts[1]] = ref
        for stack, mine in asked.items():
            try:
                await self._agents.ask(stack, "cancel", {"refs": list(mine)})
            except DriverError as error:
                answers += [CancelAnswer(ref.key, False, str(error)) for ref in mine.values()]
                continue
            for ref in mine.values():
                self._sent.pop(ref.ref, None)  # it is wanted no more: look again
                answers.append(CancelAnswer(ref.key, done=True))
        return answers

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """Suspend and resume requests at iDDS."""
        return [await self._control(each) for each in controls]

    async def _control(self, asked: Control) -> ControlAnswer:
        records, problems = await self._records([asked.ref])
        record = records.get(asked.ref)
        if record is None:
            return ControlAnswer(
                asked.key, False, ErrorClass.TRANSIENT, problems.get(asked.ref, "")
            )
        if record["stage"] in ("over", "cancelled", "missing") or record.get("finish"):
            return ControlAnswer(asked.key, True)
        if not is_sent(record):
            words = "iDDS does not have it yet"
            return ControlAnswer(asked.key, False, ErrorClass.NOT_YET, words)
        return await self._commands.carry_out(asked, int(record["request"]))

    # ---- drill-down

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The work at the facility with its log, the request, its tasks, their jobs with errors and logs."""
        record = await self._record(ref)
        return await parts_of_workflow(self._place, self._table, record)

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """The bytes of `log.txt` (also as part ""), which graph, submission and counting write, or of a
        job's log."""
        record = await self._record(ref)
        at = _at(ref.ref)
        chunks = read_workflow_log(self._place, self._agents, at, record, part, offset, follow)
        async for chunk in chunks:
            yield chunk

    async def _record(self, ref: JobRef) -> Record:
        records, problems = await self._records([ref.ref])
        if ref.ref in problems:
            raise DriverError(ErrorClass.TRANSIENT, problems[ref.ref])
        record = records.get(ref.ref)
        if record is None or record["stage"] == "missing":
            words = f"{self._place.here} knows no attempt {ref.key}; was its directory removed?"
            raise DriverError(ErrorClass.PERMANENT, words)
        return record


def _at(ref: str) -> tuple[str, str]:
    """(stack, directory) of a reference of ours."""
    parts = parts_of(ref)
    assert parts is not None
    return parts


async def _answer_of(
    call: "asyncio.Task[dict[str, Accepted | Refused]]", key: str
) -> Accepted | Refused:
    """One key's answer of a call for many."""
    return (await call)[key]
