"""The looks at one PanDA server, shared by everybody who waits for something there.

However many groups and facilities there are: one question for all tasks and, where iDDS requests are
waited for, one for those, in each cycle of `poll_s` seconds. Messages make the next look come sooner and
are not needed.
"""

import asyncio
import bisect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Generic, TypeVar

from cmd_panda.faults import Kind, PandaFault
from cmd_panda.records import RequestRecord, TaskRecord
from cmd_panda.server import PandaServer
from cmd_panda.settings import PandaSettings

FINAL = frozenset({"done", "finished", "failed", "aborted", "broken"})
"""States in which PanDA is through with a task; `exhausted` is not: it waits for a person."""

IDLE = frozenset(
    {"pending", "ready", "assigning", "defined", "registered", "throttled", "exhausted"}
)
"""States in which no job of a task runs."""

SOONEST_S = 30.0
"""Seconds between two looks, however often they are asked for; a quarter of a cycle if that is less."""

FRESH = 0.9
"""Part of a cycle for which one look serves everybody."""

DAY_US = 86_400_000_000
LONGEST_PAGE = 100_000

T = TypeVar("T")


class Tasks:
    """Our tasks as last seen, by id, name and beginning of the name."""

    def __init__(self) -> None:
        self._by_id: dict[int, TaskRecord] = {}
        self._ids: dict[str, list[int]] = {}
        self._names: list[str] = []
        self._sorted = True
        self._moved: dict[int, int] = {}

    def take(self, records: Iterable[TaskRecord], now: int) -> None:
        """Keep newer records."""
        for record in records:
            known = self._by_id.get(record.id)
            if known is None:
                untouched = record.status in IDLE and not (record.finished or record.failed)
                since = record.created if untouched else record.changed
                self._moved[record.id] = since or now
            elif known.done != record.done or (known.status in IDLE) != (record.status in IDLE):
                self._moved[record.id] = now
            if known is None:
                if record.name not in self._ids:
                    self._ids[record.name] = []
                    self._names.append(record.name)
                    self._sorted = False
                bisect.insort(self._ids[record.name], record.id)
            self._by_id[record.id] = record

    def drop(self, ids: Iterable[int]) -> None:
        """The server has these no more, or nobody needs them."""
        gone = False
        for id in list(ids):
            record = self._by_id.pop(id)
            self._ids[record.name].remove(id)
            del self._moved[id]
            if not self._ids[record.name]:
                del self._ids[record.name]
                gone = True
        if gone:
            self._names = sorted(self._ids)
            self._sorted = True

    def get(self, id: int) -> TaskRecord | None:
        """The task of this id, or None if it was not seen."""
        return self._by_id.get(id)

    def named(self, name: str) -> list[TaskRecord]:
        """The tasks of exactly this name, the oldest first."""
        return [self._by_id[id] for id in self._ids.get(name, ())]

    def beginning(self, prefix: str) -> list[TaskRecord]:
        """The tasks whose names begin so, by name."""
        if not self._sorted:
            self._names.sort()
            self._sorted = True
        found = []
        for name in self._names[bisect.bisect_left(self._names, prefix) :]:
            if not name.startswith(prefix):
                break
            found += self.named(name)
        return found

    def all(self) -> Iterable[TaskRecord]:
        """Every task seen."""
        return self._by_id.values()

    def open(self) -> list[TaskRecord]:
        """The tasks that PanDA is not through with."""
        return [each for each in self._by_id.values() if each.status not in FINAL]

    def moved_at(self, id: int) -> int:
        """When a task was last seen to get on: a file more or less, or work begun or stopped. JEDI takes
        one up and puts it back every few minutes, which is none."""
        return self._moved[id]


class Requests:
    """iDDS requests as last seen, by id and name."""

    def __init__(self, records: Iterable[RequestRecord] = ()) -> None:
        self._by_name = {each.name: each for each in records}
        self._by_id = {each.id: each for each in self._by_name.values() if each.id is not None}

    def get(self, id: int) -> RequestRecord | None:
        """The request of this id; None if it was not seen, or has no transforms yet: see its name."""
        return self._by_id.get(id)

    def named(self, name: str) -> RequestRecord | None:
        """The request of this name."""
        return self._by_name.get(name)


class Look(Generic[T]):
    """One kind of look, that everybody who asks within a cycle shares. `seen` is what the last one gave,
    `count` how many there were."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], now: Callable[[], int], poll_s: float
    ) -> None:
        self._ask = ask
        self._now = now
        self._poll_s = poll_s
        self._began: int | None = None
        self.seen: T | None = None
        self._sooner = False
        self._under_way: asyncio.Task[T] | None = None
        self.count = 0

    def wake(self) -> None:
        """Something has changed: the next who asks gets a new look."""
        self._sooner = True

    async def fresh(self, anew: bool = False) -> T:
        """A look of this cycle, or with `anew` one that begins now. Raises PandaFault if it fails; the
        next who asks tries again."""
        if anew and self._under_way is not None:
            await asyncio.wait([self._under_way])
        if self._under_way is None or self._under_way.done():
            if self.seen is not None and not anew and not self._is_due():
                return self.seen
            self._sooner = False
            self._began = self._now()
            self._under_way = asyncio.create_task(self._look())
            # Nobody may be waiting for it any more when it fails.
            self._under_way.add_done_callback(lambda task: task.cancelled() or task.exception())
        # A deadline may end our waiting, but not the look that others wait for.
        return await asyncio.shield(self._under_way)

    def _is_due(self) -> bool:
        if self._began is None:
            return True
        age = (self._now() - self._began) / 1e6
        soonest = min(SOONEST_S, self._poll_s / 4)
        return age >= (soonest if self._sooner else self._poll_s * FRESH)

    async def _look(self) -> T:
        self.count += 1
        try:
            self.seen = await self._ask()
        except BaseException:
            self._began = None
            raise
        return self.seen

    async def close(self) -> None:
        """End a look under way."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])


class Watch:
    """The looks at one server."""

    def __init__(
        self, server: PandaServer, settings: PandaSettings, now: Callable[[], int]
    ) -> None:
        self._server = server
        self._settings = settings
        self._now = now
        self._tasks = Tasks()
        self._page = settings.page
        self._from: int | None = None
        """Everything modified since then is in `_tasks`, up to the last look."""
        self._wanted_from: int | None = None
        self._looked_at = 0
        self._swept_at = 0
        self._counted_at = 0
        self._counting = False
        self._requests_wanted: set[int] = set()
        self.looks = Look(self._look, now, settings.poll_s)
        self.request_looks = Look(self._look_at_requests, now, settings.poll_s)

    async def tasks(self, since: int) -> Tasks:
        """Our tasks as this cycle has seen them, with all that were changed after `since`
        (microseconds UTC): when the oldest of the work was submitted that the caller asks about. One
        call to the server for all who ask within a cycle. Raises PandaFault."""
        since = max(since - DAY_US, 0)  # JEDI sets times back by up to a day to have tasks taken up
        if self._wanted_from is None or since < self._wanted_from:
            self._wanted_from = since
        seen = await self.looks.fresh()
        if self._from is not None and self._from > since:
            seen = await self.looks.fresh(anew=True)
        return seen

    async def requests(self, ids: Collection[int]) -> Requests:
        """iDDS requests as this cycle has seen them. One call for all who ask within a cycle: for
        the one request there is, or else for all that iDDS has. Raises PandaFault."""
        self._requests_wanted |= set(ids)
        if self._counting and self.request_looks.seen is not None:
            return self.request_looks.seen  # this cycle has had its two calls
        return await self.request_looks.fresh()

    def forget_requests(self, ids: Collection[int]) -> None:
        """Nobody waits for these any more."""
        self._requests_wanted -= set(ids)

    def wake(self) -> None:
        """Something has changed at the server."""
        self.looks.wake()
        self.request_looks.wake()

    def follows(self, task: int) -> bool:
        """Whether news of a task may matter: it is one of ours, and open as far as we know. The others
        on a server have news all the time."""
        known = self._tasks.get(task)
        return known is not None and known.status not in FINAL

    async def close(self) -> None:
        """End the looks under way."""
        await self.looks.close()
        await self.request_looks.close()

    async def _look(self) -> Tasks:
        """What has been modified lately; every `sweep_s` whatever is open; and every `count_s` also
        what runs, because a file that is done modifies no task."""
        now, settings = self._now(), self._settings
        wanted = now if self._wanted_from is None else self._wanted_from
        behind = self._from is None or wanted < self._from
        sweeping = now - self._swept_at >= settings.sweep_s * 1e6
        since = max(self._looked_at - round(settings.overlap_s * 1e6), 0)
        if behind:
            since = wanted
        elif sweeping:
            oldest = [each.created for each in self._tasks.open() if each.created is not None]
            since = min([since, *(at - DAY_US for at in oldest)])
        self._counting = False
        before = self._tasks.open() if sweeping else []
        answered = await self._ask(since, None, patient=behind or sweeping)
        self._tasks.drop(
            each.id for each in before if each.id not in answered and (each.created or 0) >= since
        )
        if behind or sweeping:
            self._counted_at = now
        elif now - self._counted_at >= settings.count_s * 1e6:
            await self._ask(0, {"status": "running"})
            self._counted_at, self._counting = now, True
        self._looked_at = now
        if self._from is None or since < self._from:
            self._from = since
        if sweeping:
            self._swept_at = now
            self._forget(wanted)
        return self._tasks

    def _forget(self, wanted: int) -> None:
        """Drop what was over before the oldest work that anybody has asked about since the last
        sweep."""
        self._tasks.drop(
            each.id
            for each in self._tasks.all()
            if each.status in FINAL and (each.modified or 0) < wanted
        )
        self._from, self._wanted_from = wanted, None

    async def _ask(
        self, since: int, filters: Mapping[str, str] | None, patient: bool = False
    ) -> set[int]:
        """Take in a list, and give its ids. One that was cut is asked for again longer, for it lacks
        the newest."""
        while True:
            records, cut = await self._server.tasks_since(since, self._page, filters, patient)
            self._tasks.take(records, self._now())
            if not cut:
                return {each.id for each in records}
            if self._page >= LONGEST_PAGE:
                words = f"{self._server.there} has more than {self._page} tasks of ours since then"
                raise PandaFault(Kind.SERVER, words)
            self._page = min(self._page * 2, LONGEST_PAGE)

    async def _look_at_requests(self) -> Requests:
        wanted = self._requests_wanted
        only = next(iter(wanted)) if len(wanted) == 1 else None
        return Requests(await self._server.requests(only))
