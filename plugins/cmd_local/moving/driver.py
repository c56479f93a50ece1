"""The driver `mover`: data movement between the facilities' Butlers, as jobs.

IDEMPOTENT: every stage looks at the facilities for how far things are and does what is left. An
accepted order is kept as a small file until its outcome is old; a driver that finds an order
without an outcome, after a restart, goes on with it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

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
    Refused,
    Safety,
    Unclear,
    Verb,
)
from cmd_local.moving.archive import Archivist
from cmd_local.moving.asking import Butlers
from cmd_local.moving.books import fitting
from cmd_local.moving.carrier import Carrier
from cmd_local.moving.manifest import Manifests
from cmd_local.moving.movement import Mover
from cmd_local.moving.orders import BadOrder, Movement, OrderStore, movement_of
from cmd_local.moving.purging import Purger
from cmd_local.moving.routing import RoutingCarrier
from cmd_local.moving.sending import Meter
from cmd_local.moving.settings import MoverSettings

NAME = "mover"


class MoverDriver:
    """Movements of the groups of one facility."""

    name = NAME
    safety: Mapping[Verb, Safety] = {
        Verb.SUBMIT: Safety.IDEMPOTENT,
        Verb.CANCEL: Safety.IDEMPOTENT,
    }
    poll_s = 2.0

    def __init__(
        self, facility: FacilityInfo, settings: MoverSettings, host: Host, carrier: Carrier
    ) -> None:
        self._facility = facility
        self._settings = settings
        self._host = host
        self._carrier = carrier
        self._orders = OrderStore(host.state_dir / self.name / "orders" / facility.name)
        # One place for all drivers that move: a purge by any of them knows what any has verified.
        self._manifests = Manifests(host.state_dir / NAME / "manifests")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._meters: dict[str, Meter] = {}
        self._ending: set[str] = set()

    async def start(self) -> None:
        """Make the directories and drop orders older than `keep_days`."""
        try:
            await asyncio.to_thread(self._orders.prepare, self._settings.keep_days * 86_400)
            await asyncio.to_thread(self._manifests.prepare)
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"driver '{self.name}' of {self._facility.name}: its state directory cannot be used: "
                f"{error}",
            ) from error

    async def stop(self) -> None:
        """End what is under way; it is gone on with later."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks.clear()
        await self._carrier.release()

    async def submit(self, orders: Sequence[JobOrder]) -> Sequence[Accepted | Refused]:
        """Keep the orders and begin."""
        return [await self._submit(order) for order in orders]

    async def _submit(self, order: JobOrder) -> Accepted | Refused:
        try:
            self._check(movement_of(order))
        except BadOrder as error:
            return Refused(order.key, ErrorClass.PERMANENT, str(error))
        if order.butler not in self._facility.butlers:
            has = ", ".join(sorted(self._facility.butlers)) or "none"
            return Refused(
                order.key,
                ErrorClass.PERMANENT,
                f"facility {self._facility.name} has no Butler repository '{order.butler}' "
                f"(it has: {has})",
            )
        try:
            # A deadline may end our waiting, but not the keeping: `find` waits for that.
            await asyncio.shield(self._orders.keep(order))
        except OSError as error:
            return Refused(order.key, ErrorClass.TRANSIENT, f"driver '{self.name}': {error}")
        ref = self._orders.ref(order.key)
        self._begin(ref)
        return Accepted(order.key, ref)

    def _check(self, movement: Movement) -> None:
        """Raises BadOrder for what this driver cannot do."""
        if movement.existing:
            raise BadOrder(
                f"{movement.group}: the driver '{self.name}' knows no datasets outside the Butlers: let "
                "another driver do the stage, or leave out its 'existing'"
            )

    def _begin(self, ref: str) -> None:
        """Do the order unless it is done or being done."""
        if ref in self._tasks or ref in self._ending:
            return
        record = self._orders.record(ref)
        if record is not None and "outcome" not in record:
            order = self._orders.order(record)
            self._meters[ref] = Meter()
            self._tasks[ref] = asyncio.create_task(self._do(ref, order))

    async def _do(self, ref: str, order: JobOrder) -> None:
        started = self._host.now()
        try:
            outcome = await self._work(movement_of(order), self._meters[ref])
        except DriverError as error:
            outcome = self._failed(order, error, error.error_class)
        except BadOrder as error:
            outcome = self._failed(order, error, ErrorClass.PERMANENT)
        except OSError as error:
            outcome = self._failed(order, error, ErrorClass.TRANSIENT)
        except Exception as error:  # noqa: BLE001 a defect must end in words, not in a loop
            defect = RuntimeError(f"a defect of the mover, please report it: {error!r}")
            outcome = self._failed(order, defect, ErrorClass.PERMANENT)
        outcome = {**outcome, "started_at": started, "finished_at": self._host.now()}
        try:
            await asyncio.to_thread(self._orders.end, ref, outcome)
        except OSError:
            return  # without an outcome on disk it is done again at the next look
        finally:
            self._tasks.pop(ref, None)
            self._meters.pop(ref, None)
            self._host.wake(self._facility.name, self.name)

    def _failed(self, order: JobOrder, error: Exception, error_class: ErrorClass) -> dict[str, Any]:
        # Everything here may be repeated: what nobody knows the effect of is simply tried again.
        permanent = error_class is ErrorClass.PERMANENT
        group = f"{order.campaign}/{order.step}/{order.group}"
        words = str(error)
        return {
            "ok": False,
            "message": words if words.startswith(group) else f"{group}: {order.job}: {words}",
            "error_class": (ErrorClass.PERMANENT if permanent else ErrorClass.TRANSIENT).value,
        }

    async def _work(self, movement: Movement, meter: Meter) -> dict[str, Any]:
        butlers = Butlers(self._host, self._settings, movement.order.butler)
        if movement.stage == "purge":
            return await Purger(movement, butlers, self._manifests, meter).purge()
        if movement.name == "archive":
            archivist = Archivist(
                movement,
                self._host,
                butlers,
                self._carrier,
                self._manifests,
                self._settings,
                meter,
            )
            stages = {
                "bundle": archivist.bundle,
                "register": archivist.register,
                "transfer": archivist.transfer,
            }
        else:
            mover = Mover(movement, butlers, self._carrier, self._manifests, self._settings, meter)
            stages = {
                "register": mover.register,
                "transfer": mover.transfer,
                "ingest": mover.ingest,
            }
        if movement.stage not in stages:
            raise BadOrder(f"a movement '{movement.name}' has no stage '{movement.stage}'")
        return await stages[movement.stage]()

    async def find(self, keys: Sequence[str]) -> Sequence[Found | Absent | Unclear]:
        """Whether orders were accepted."""
        held = await self._orders.holds(list(keys))
        return [
            Found(key, self._orders.ref(key)) if there else Absent(key)
            for key, there in zip(keys, held, strict=True)
        ]

    async def observe(self, refs: Sequence[JobRef]) -> Sequence[Observation]:
        """Tell progress and outcomes; what a former daemon left undone is gone on with."""
        return [self._observe(ref) for ref in refs]

    def _record(self, asked: JobRef) -> dict[str, Any] | None:
        if asked.ref != self._orders.ref(asked.key):
            return None
        return self._orders.record(asked.ref)

    def _observe(self, asked: JobRef) -> Observation:
        record = self._record(asked)
        if record is None:
            return Observation(asked.key, Phase.GONE, message=f"driver '{self.name}' never took it")
        told = record.get("outcome")
        if told is None:
            self._begin(asked.ref)
            meter = self._meters.get(asked.ref)
            return Observation(
                asked.key, Phase.RUNNING, progress=meter.progress() if meter else None
            )
        return Observation(asked.key, Phase.DONE, _outcome(told))

    async def cancel(self, refs: Sequence[JobRef]) -> Sequence[CancelAnswer]:
        """Stop; what has been moved by now stays where it is."""
        return [await self._cancel(ref) for ref in refs]

    async def _cancel(self, asked: JobRef) -> CancelAnswer:
        task = self._tasks.get(asked.ref)
        words = ""
        self._ending.add(asked.ref)  # a look meanwhile must not go on with it
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            record = self._record(asked)
            if record is not None and "outcome" not in record:
                words = await self._let_go(movement_of(self._orders.order(record)))
                told = {"ok": False, "message": "cancelled"}
                await asyncio.to_thread(self._orders.end, asked.ref, told)
        finally:
            self._ending.discard(asked.ref)
        self._tasks.pop(asked.ref, None)
        self._meters.pop(asked.ref, None)
        return CancelAnswer(asked.key, done=True, message=words)

    async def _let_go(self, movement: Movement) -> str:
        """Let go of what a stopped attempt holds outside; in words what cannot be."""
        return ""

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The books, one part for each source, destination and dataset type."""
        record = self._record(ref)
        if record is None:
            raise DriverError(
                ErrorClass.PERMANENT, f"driver '{self.name}' knows no attempt {ref.key}"
            )
        books = (record.get("outcome") or {}).get("books") or []
        return [_part(entry) for entry in books[:1000]]

    async def read_log(
        self, ref: JobRef, part: str, offset: int, follow: bool
    ) -> AsyncIterator[LogChunk]:
        """Movements have no logs: their books say all."""
        raise DriverError(ErrorClass.PERMANENT, f"attempt {ref.key} has no log '{part}'")
        yield LogChunk(0, b"")  # makes this a generator


def _part(entry: Mapping[str, Any]) -> Part:
    way = [str(entry[name]) for name in ("source", "destination") if name in entry]
    gaps = entry.get("gaps") or []
    return Part(
        f"{' -> '.join(way)} {entry['type']}",
        "datasets",
        "gap" if gaps else "complete",
        {name: value for name, value in entry.items() if isinstance(value, int)},
        message=str(gaps[0]["reason"]) if gaps else "",
    )


def _outcome(told: Mapping[str, Any]) -> Outcome:
    error_class = told.get("error_class")
    message = str(told.get("message") or "")
    failures = [
        Failure(
            task=entry["type"],
            data_id=", ".join(f"{k} {v}" for k, v in gap["data_id"].items()),
            message=gap["reason"],
        )
        for entry in told.get("books") or []
        for gap in entry.get("gaps") or []
    ]
    ok = told.get("ok") is True
    return Outcome(
        ok=ok,
        message=message,
        error_class=ErrorClass(error_class) if error_class else None,
        failures=() if ok else tuple(failures[:200]) or (Failure(message=message),),
        started_at=told.get("started_at"),
        finished_at=told.get("finished_at"),
        extra={"books": fitting(told["books"] or [])} if "books" in told else {},
    )


class MoverFactory:
    """Makes the mover of each facility that names it."""

    name = NAME
    kinds = frozenset(
        {JobKind.REGISTER, JobKind.TRANSFER, JobKind.INGEST, JobKind.BUNDLE, JobKind.PURGE}
    )
    settings: type[BaseModel] = MoverSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> MoverDriver:
        """Make the driver; agents are asked for when there is work."""
        if not isinstance(settings, MoverSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be MoverSettings")
        return MoverDriver(facility, settings, host, RoutingCarrier(host, settings.patience_s))
