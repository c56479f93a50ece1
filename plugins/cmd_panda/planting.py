"""Submitting scripts as tasks, each once: looked for, noted, sent, and found again."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    DriverError,
    ErrorClass,
    Found,
    JobOrder,
    Refused,
    Unclear,
)
from cmd_housekeeping.arc_records import Record
from cmd_housekeeping.planting import Plantings
from cmd_local.orders import BadOrder
from cmd_panda.books import Books, ref_of
from cmd_panda.faults import Kind, PandaFault
from cmd_panda.lookup import by_name, by_next_ids, doubles, last_before, unsettled_s
from cmd_panda.naming import name_of
from cmd_panda.tasks import parameters_of
from cmd_panda.work import Place

STOPPING = frozenset({Kind.LOST, Kind.DOWN, Kind.CREDENTIAL, Kind.FULL})
"""After such a refusal the rest of a set is not sent."""

log = structlog.get_logger()


class Planter:
    """The submissions of one facility, with the books in which they are noted."""

    def __init__(self, place: Place, books: Books) -> None:
        self._place = place
        self._books = books
        self._settings = place.settings
        self._now = place.host.now
        self._plantings = Plantings(self._plant)
        self._one_at_a_time = asyncio.Lock()

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Answers for all orders; a deadline ends our waiting, but not the submitting."""
        return await self._plantings.submit(orders)

    async def settled(self, keys: Iterable[str]) -> None:
        """Wait until none of these is being submitted."""
        await self._plantings.settled(keys)

    async def close(self) -> None:
        """Wait until nothing is being submitted."""
        await self._plantings.close()

    async def _plant(self, orders: Mapping[str, JobOrder]) -> dict[str, Accepted | Refused]:
        """Answers by key; never raises a DriverError."""
        answers: dict[str, Accepted | Refused] = {}
        async with self._one_at_a_time:
            try:
                waiting = await self._not_there(orders, answers)
                room = self._settings.calls
                for first in range(0, len(waiting), room):
                    sent = await asyncio.gather(
                        *(self._send(order) for order in waiting[first : first + room])
                    )
                    answers |= {answer.key: answer for answer, _ in sent}
                    stop = next((fault for _, fault in sent if fault is not None), None)
                    if stop is not None:
                        _leave(waiting[first + room :], stop, answers)
                        break
            except DriverError as error:
                for key in orders.keys() - answers.keys():
                    answers[key] = Refused(key, error.error_class, str(error))
            except OSError as error:
                words = f"{self._place.here}: the state directory gives an error: {error}"
                for key in orders.keys() - answers.keys():
                    answers[key] = Refused(key, ErrorClass.TRANSIENT, words)
        return answers

    async def _not_there(
        self, orders: Mapping[str, JobOrder], answers: dict[str, Accepted | Refused]
    ) -> list[JobOrder]:
        """The orders to submit; those that are there, or may yet come, are answered."""
        asked = []
        for key, order in orders.items():
            record = self._books.get(key)
            if record is not None and record.id:
                answers[key] = Accepted(key, ref_of(int(record.id)))
            else:
                asked.append(order)
        known = await self._named([order.key for order in asked])
        waiting = []
        for order in asked:
            record = self._books.get(order.key)
            wait = self._unsettled_s(record)
            if order.key in known:
                answers[order.key] = Accepted(order.key, ref_of(known[order.key]))
            elif wait > 0:
                words = (
                    f"{self._place.here}: a former submission may still arrive, for {wait:.0f} s"
                )
                answers[order.key] = Refused(order.key, ErrorClass.NOT_YET, words)
            else:
                waiting.append(order)
        return waiting

    async def _send(self, order: JobOrder) -> tuple[Accepted | Refused, PandaFault | None]:
        """Submit one task; what is about to be done is written down before. The fault is there if it
        would meet the next one too."""
        try:
            parameters = await asyncio.to_thread(parameters_of, order, self._settings)
        except BadOrder as error:
            return Refused(order.key, ErrorClass.PERMANENT, str(error)), None
        await asyncio.to_thread(self._books.sending, order.key, self._now())
        try:
            task = await self._place.shared().server.submit_task(parameters)
        except PandaFault as fault:
            if fault.kind is not Kind.LOST:
                await asyncio.to_thread(self._books.forget, order.key)
            words = f"{self._place.here}: {fault}"
            refusal = Refused(order.key, fault.error_class, words)
            return refusal, fault if fault.kind in STOPPING else None
        await asyncio.to_thread(self._books.took, order.key, task)
        return Accepted(order.key, ref_of(task)), None

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Which attempts PanDA has; see `lookup`. Raises DriverError where it cannot be asked, for
        then nothing is known and it is asked again."""
        await self._plantings.settled(keys)
        async with self._one_at_a_time:
            records = {key: self._books.get(key) for key in keys}
            found = {
                key: int(record.id)
                for key, record in records.items()
                if record is not None and record.id
            }
            found |= await self._named([key for key in keys if key not in found])
            lost = {
                key: record
                for key, record in records.items()
                if record is not None and key not in found
            }
            if lost:
                found |= await self._next(lost)
            return [self._found(key, found.get(key), lost.get(key)) for key in keys]

    def _found(self, key: str, task: int | None, lost: Record | None) -> Found | Absent | Unclear:
        if task is not None:
            return Found(key, ref_of(task))
        wait = self._unsettled_s(lost)
        if wait > 0:
            words = f"{self._place.here}: sent, no answer; it may arrive for {wait:.0f} s more"
            return Unclear(key, words)
        if lost is not None:
            self._books.forget(key)
        return Absent(key)

    async def _named(self, keys: Sequence[str]) -> dict[str, int]:
        """The tasks that PanDA has by their names, by key. Of two the oldest is adopted, and the
        others are reported."""
        if not keys:
            return {}
        names = {name_of(key, self._settings.prefix): key for key in keys}
        told = await by_name(self._place.shared().server, names)
        for name, others in doubles(told).items():
            log.warning("tasks of the same name", name=name, adopted=told[name][0], others=others)
        return await self._adopt({names[name]: ids[0] for name, ids in told.items()})

    async def _next(self, lost: Mapping[str, Record]) -> dict[str, int]:
        """The tasks without an answer that stand among the next ids, by key."""
        shared = self._place.shared()
        names = {name_of(key, self._settings.prefix): key for key in lost}
        at = min(record.sent_at for record in lost.values())
        after = last_before(await shared.watch.tasks(at), self._books.below(at), at)
        told = await by_next_ids(shared.server, names, after)
        return await self._adopt({names[name]: id for name, id in told.items()})

    async def _adopt(self, tasks: dict[str, int]) -> dict[str, int]:
        for key, task in tasks.items():
            await asyncio.to_thread(self._books.took, key, task, self._now())
        return tasks

    def _unsettled_s(self, record: Record | None) -> float:
        if record is None or record.id:
            return 0.0
        return unsettled_s(record.sent_at, self._now(), self._settings.settle_s)


def _leave(
    orders: Sequence[JobOrder], fault: PandaFault, answers: dict[str, Accepted | Refused]
) -> None:
    """Orders that were not sent, because the one before met a server that takes none."""
    kind = fault.error_class if fault.error_class is ErrorClass.NOT_YET else ErrorClass.TRANSIENT
    for order in orders:
        answers[order.key] = Refused(order.key, kind, f"not sent, after this: {fault}")
