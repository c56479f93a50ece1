"""The driver `panda`: scripts as PanDA tasks, process jobs as BPS workflows.

FINDABLE: names follow from the keys, and a submission whose answer was lost is looked for before it is
said again. See `cmd_panda.work` for how the two families of jobs come in.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    Command,
    Control,
    ControlAnswer,
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
from cmd_panda.bps.family import BpsWork
from cmd_panda.scripts import ScriptWork
from cmd_panda.settings import NAME, PandaSettings
from cmd_panda.sharing import Servers, Shared
from cmd_panda.work import Place, Work

FAMILIES: tuple[Callable[[Place], Work], ...] = (ScriptWork, BpsWork)

Asked = TypeVar("Asked", JobRef, Control)
Told = TypeVar("Told")


class PandaDriver:
    """One facility's work at its PanDA server."""

    safety: Mapping[Verb, Safety] = {Verb.SUBMIT: Safety.FINDABLE, Verb.CANCEL: Safety.IDEMPOTENT}

    def __init__(self, facility: FacilityInfo, settings: PandaSettings, host: Host) -> None:
        self.poll_s = settings.poll_s
        self._settings = settings
        self._servers = Servers.of(host)
        self._place = Place(facility, settings, host, self._shared)
        self._works = [make(self._place) for make in FAMILIES]
        self.commands: frozenset[Command] = frozenset().union(
            *(work.commands for work in self._works)
        )

    def _shared(self) -> Shared:
        return self._servers.at(self._settings, self, self._place.facility.name)

    # ---- life

    async def start(self) -> None:
        """Reach the server, make sure that we can speak with it and that it knows us."""
        await self._shared().server.greet()
        for work in self._works:
            await work.start()

    async def stop(self) -> None:
        """Let go; tasks go on."""
        for work in self._works:
            await work.stop()
        await self._servers.let_go(self)

    # ---- by kind

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Give each order to the family of its kind."""
        answers: list[Accepted | Refused] = []
        calls = []
        for work in self._works:
            mine = [order for order in orders if order.kind in work.kinds]
            if mine:
                calls.append(work.submit(mine))
        kinds = frozenset[JobKind]().union(*(work.kinds for work in self._works))
        for order in orders:
            if order.kind not in kinds:
                words = f"{self._place.here} does no {order.kind} jobs"
                answers.append(Refused(order.key, ErrorClass.PERMANENT, words))
        return answers + await _together(calls)

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Ask all families: found by one is found; absent is what all say is absent."""
        if not keys:
            return []
        told: dict[str, Found | Absent | Unclear] = {}
        for answers in await asyncio.gather(*(work.find(keys) for work in self._works)):
            for answer in answers:
                known = told.get(answer.key)
                better = isinstance(answer, Found) or not isinstance(known, Found | Unclear)
                if known is None or better:
                    told[answer.key] = answer
        return list(told.values())

    # ---- by reference

    def _family(self, ref: str) -> Work | None:
        mark = ref.partition(":")[0]
        return next((work for work in self._works if work.mark == mark), None)

    def _sorted(self, asked: Iterable[Asked]) -> tuple[list[tuple[Work, list[Asked]]], list[Asked]]:
        """(what each family is asked, what belongs to none)."""
        families: dict[int, tuple[Work, list[Asked]]] = {}
        strangers = []
        for each in asked:
            work = self._family(each.ref)
            if work is None:
                strangers.append(each)
            else:
                families.setdefault(id(work), (work, []))[1].append(each)
        return list(families.values()), strangers

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Each family tells of its own, from the same look."""
        families, strangers = self._sorted(refs)
        gone = [
            Observation(
                ref.key, Phase.GONE, message=f"{self._place.here} has no '{ref.ref}': {_MARKS}"
            )
            for ref in strangers
        ]
        return gone + await _together(work.observe(mine) for work, mine in families)

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Have tasks and requests ended; that they are shows in what `observe` tells."""
        families, strangers = self._sorted(refs)
        gone = [
            CancelAnswer(ref.key, done=True, message="nothing is known of it") for ref in strangers
        ]
        return gone + await _together(work.cancel(mine) for work, mine in families)

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """Commands to attempts, each done when the server shows that it is so."""
        families, strangers = self._sorted(controls)
        answers = [
            ControlAnswer(
                each.key, False, ErrorClass.PERMANENT, f"{self._place.here} has no '{each.ref}'"
            )
            for each in strangers
        ]
        calls = []
        for work, mine in families:
            calls.append(work.control([each for each in mine if each.command in work.commands]))
            answers += [
                ControlAnswer(
                    each.key,
                    False,
                    ErrorClass.PERMANENT,
                    f"{self._place.here} cannot '{each.command}' a {work.mark}",
                )
                for each in mine
                if each.command not in work.commands
            ]
        return answers + await _together(calls)

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """Tasks, jobs with their errors, and logs."""
        work = self._family(ref.ref)
        return [] if work is None else await work.inspect(ref)

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """The bytes of a log that `inspect` has named."""
        work = self._family(ref.ref)
        if work is None:
            raise DriverError(ErrorClass.PERMANENT, f"{self._place.here} has no '{ref.ref}'")
        async for chunk in work.read_log(ref, part, offset, follow):
            yield chunk


_MARKS = "a reference begins with the kind of thing it is"


async def _together(calls: Iterable[Awaitable[Sequence[Told]]]) -> list[Told]:
    """The answers of all families, asked at the same time."""
    return [each for answers in await asyncio.gather(*calls) for each in answers]


class PandaFactory:
    """Makes the driver of each facility that names it."""

    name = NAME
    kinds = frozenset({JobKind.PROCESS, JobKind.SCRIPT})
    settings: type[BaseModel] = PandaSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> PandaDriver:
        """Make the driver; the server is asked at `start`."""
        if not isinstance(settings, PandaSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be PandaSettings")
        return PandaDriver(facility, settings, host)
