"""Workflows that iDDS has: how far they are at PanDA, and their end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from cmd_daemon.hooks import Observation
from cmd_panda.bps.endings import failed_jobs, finish_request
from cmd_panda.bps.states import Planned, Verdict, matched, planned, progress, verdict
from cmd_panda.errors import ErrorTable
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.records import RequestRecord, TaskRecord
from cmd_panda.states import message_of
from cmd_panda.watching import FINAL, Tasks
from cmd_panda.work import Place

ENDINGS_AT_A_TIME = 20
"""Workflows that are over whose failed jobs are asked about in one observation."""

ABORT_AGAIN_US = 300_000_000

log = structlog.get_logger()

Record = Mapping[str, Any]


def is_sent(record: Record | None) -> bool:
    """Whether iDDS has the attempt and it was not found to be over yet."""
    return record is not None and record["stage"] == "sent" and record.get("finish") is None


@dataclass(frozen=True, slots=True)
class Seen:
    """A workflow at PanDA: what the facility has noted and planned, which tasks are there, what that
    comes to, and the state of its request where that was asked for."""

    record: Record
    plan: Sequence[Planned]
    tasks: Mapping[str, TaskRecord]
    verdict: Verdict
    warning: str = ""
    state: str = ""

    def with_request(self, request: RequestRecord | None) -> "Seen":
        """The same with what iDDS says of it."""
        told = verdict(self.plan, self.tasks, request, self.record["cancelled"])
        return replace(self, verdict=told, state=request.status if request is not None else "")

    def observation(self, key: str) -> Observation:
        """How far it is."""
        note = self.verdict.note or self.warning
        if self.record["cancelled"] and not self.verdict.over:
            note = f"being cancelled; {note}".removesuffix("; ")
        return Observation(key, self.verdict.phase, progress=progress(self.plan, self.tasks, note))


async def tasks_since(place: Place, records: Iterable[Record]) -> Tasks:
    """Our tasks at PanDA as this cycle has seen them, with all those of these workflows. Raises
    PandaFault."""
    oldest = min((float(record.get("sending_at") or 0.0) for record in records), default=0.0)
    return await place.shared().watch.tasks(round(oldest * 1e6))


def tasks_of(record: Record, tasks: Tasks) -> dict[str, TaskRecord]:
    """The tasks of a workflow by their planned names."""
    return matched(planned(record["tasks"]), tasks.beginning(f"{record['name']}_"))


class Following:
    """The workflows of one facility at PanDA."""

    def __init__(self, place: Place, table: ErrorTable) -> None:
        self._place = place
        self._table = table
        self._told: dict[str, tuple[str, int]] = {}
        """What was last asked of requests that nobody wants any more, and when, by reference."""

    async def look(self, sent: Mapping[str, Record]) -> dict[str, Seen]:
        """How far workflows are, by reference: one question for the tasks of all, and one for requests
        where tasks leave a doubt. Requests that nobody wants any more are aborted. Raises PandaFault."""
        if not sent:
            return {}
        seen: dict[str, Seen] = {}
        tasks = await tasks_since(self._place, sent.values())
        for ref, record in sent.items():
            plan, mine = planned(record["tasks"]), tasks_of(record, tasks)
            told = verdict(plan, mine, None, record["cancelled"])
            seen[ref] = Seen(record, plan, mine, told, self._warning(mine, tasks))
        await self._ask_requests(seen)
        await self._abort(seen)
        return seen

    def _warning(self, mine: Mapping[str, TaskRecord], tasks: Tasks) -> str:
        """What people should know of its tasks. One that waits for another is not stuck as long as any
        of them gets on."""
        moved = max((tasks.moved_at(each.id) for each in mine.values()), default=0)
        now, hours = self._place.host.now(), self._place.settings.stuck_h
        for each in mine.values():
            if each.status not in FINAL and (words := message_of(each, moved, now, hours)):
                return f"task {each.id}: {words}"
        return ""

    async def _ask_requests(self, seen: dict[str, Seen]) -> None:
        doubtful = {
            ref: int(each.record["request"]) for ref, each in seen.items() if each.verdict.doubtful
        }
        watch = self._place.shared().watch
        certain = seen.keys() - doubtful.keys()
        watch.forget_requests([int(seen[ref].record["request"]) for ref in certain])
        if not doubtful:
            return
        requests = await watch.requests(set(doubtful.values()))
        for ref, number in doubtful.items():
            # A detailed answer has the number only where there are transforms.
            known = requests.get(number) or requests.named(str(seen[ref].record["name"]))
            seen[ref] = seen[ref].with_request(known)

    async def _abort(self, seen: Mapping[str, Seen]) -> None:
        """Abort the requests of attempts that nobody wants any more, every now and then. iDDS takes a
        suspended one for terminated and would not abort it, so that is resumed first."""
        now = self._place.host.now()
        for ref, each in seen.items():
            if not each.record["cancelled"] or each.verdict.over:
                continue
            verb = "resume" if each.state == "Suspended" else "abort"
            said, at = self._told.get(ref, ("", 0))
            if said == verb and now - at < ABORT_AGAIN_US:
                continue
            number = int(each.record["request"])
            try:
                await self._place.shared().server.command_request(verb, number)
            except PandaFault as fault:
                self._warn("a request could not be aborted", fault)
                if fault.kind not in (Kind.GONE, Kind.ROLE):
                    continue
            self._told[ref] = verb, now

    async def ends(self, seen: Mapping[str, Seen]) -> dict[str, dict[str, Any]]:
        """What the facility is to be told of workflows that are over, by reference, with their jobs that
        failed; for some of them, where there are many."""
        told: dict[str, dict[str, Any]] = {}
        over = [ref for ref, each in seen.items() if each.verdict.over]
        for ref in over[:ENDINGS_AT_A_TIME]:
            each = seen[ref]
            try:
                jobs = await failed_jobs(self._place, self._table, each.plan, each.tasks)
            except PandaFault as fault:
                self._warn("failed jobs cannot be told now", fault)
                continue
            told[ref] = finish_request(each.verdict, jobs)
            self._told.pop(ref, None)
        return told

    def _warn(self, what: str, problem: Exception) -> None:
        log.warning(what, facility=self._place.facility.name, problem=str(problem))
