"""The driver `rucio`: the jobs of the driver `mover`, with Rucio as the carrier.

IDEMPOTENT as that one is: orders are kept and gone on with after a restart, and what was made in Rucio
before a crash is found by its name and adopted. It takes commands: see `commands`.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from cmd_daemon.hooks import (
    Control,
    ControlAnswer,
    DriverError,
    ErrorClass,
    FacilityInfo,
    Host,
    JobRef,
    Part,
)
from cmd_local.moving.carrier import Carrier
from cmd_local.moving.driver import MoverDriver, MoverFactory
from cmd_local.moving.orders import BadOrder, Movement, movement_of
from cmd_local.moving.routing import RoutingCarrier
from cmd_local.moving.sending import Meter
from cmd_rucio_butler import naming
from cmd_rucio_butler.archive import RucioArchivist
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.commands import COMMANDS, Wanted, failed, refusal, refused
from cmd_rucio_butler.declaring import Declarations
from cmd_rucio_butler.mover import RucioMover
from cmd_rucio_butler.purging import RucioPurger
from cmd_rucio_butler.room import AT_ONCE, Seat
from cmd_rucio_butler.settings import NAME, RucioSettings
from cmd_rucio_butler.sharing import Servers, Shared
from cmd_rucio_butler.staging import StageMover

WITHDRAW_S = 20.0
"""How long a cancel tries to let go of a rule."""

RULED = ("transfer", "ingest")
"""Stages for which Rucio may be at work: commands to the others have nothing to change."""


class RucioDriver(MoverDriver):
    """Movements of the groups of one facility.

    Manifests and closed books lie where the mover has its own: a purge may be done by either.
    """

    name = NAME
    commands = COMMANDS

    def __init__(
        self, facility: FacilityInfo, settings: RucioSettings, host: Host, carrier: Carrier
    ) -> None:
        super().__init__(facility, settings.moving, host, carrier)
        self._rucio = settings.of(facility.name)
        self._declarations = Declarations(host.state_dir / NAME / "declared")
        self._servers = Servers.of(host)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._wanted: dict[str, Wanted] = {}

    def _check(self, movement: Movement) -> None:
        """Takes what only Rucio knows too."""

    async def start(self) -> None:
        """Make the directories and drop orders older than `keep_days`."""
        await super().start()
        try:
            await asyncio.to_thread(self._declarations.prepare)
        except OSError as error:
            raise DriverError(
                ErrorClass.TRANSIENT,
                f"driver '{NAME}' of {self._facility.name}: its state directory cannot be used: "
                f"{error}",
            ) from error

    async def stop(self) -> None:
        """End what is under way here; Rucio goes on, and so do we later."""
        await super().stop()
        await self._servers.let_go(self)

    def _shared(self) -> Shared:
        shared = self._servers.at(self._rucio, self)
        shared.listen(self._rucio)
        return shared

    async def _work(self, movement: Movement, meter: Meter) -> dict[str, Any]:
        if movement.stage == "purge":
            return await self._purger(movement, meter).purge()
        try:
            return await self._move(movement, meter, self._wanted_of(movement))
        finally:
            self._wanted.pop(self._orders.ref(movement.order.key), None)

    async def _move(self, movement: Movement, meter: Meter, wanted: Wanted) -> dict[str, Any]:
        stages: dict[str, Any]
        seat: Seat | None = None
        if movement.name == "archive":
            shared = self._shared()
            archivist = RucioArchivist(
                movement,
                self._host,
                RucioButlers(self._host, self._rucio, movement.order.butler),
                self._manifests,
                self._declarations,
                shared.server.within(self._rucio.scope),
                shared.watch,
                self._rucio,
                meter,
                wanted,
            )
            stages = {
                "bundle": archivist.bundle,
                "register": archivist.register,
                "transfer": archivist.transfer,
            }
        else:
            seat = Seat(self._room)
            mover = self._mover(movement, meter, seat, wanted)
            stages = {
                "register": mover.register,
                "transfer": mover.transfer,
                "ingest": mover.ingest,
            }
        if movement.stage not in stages:
            raise BadOrder(f"a movement '{movement.name}' has no stage '{movement.stage}'")
        async with seat or contextlib.nullcontext():
            outcome: dict[str, Any] = await stages[movement.stage]()
        return outcome

    def _mover(self, movement: Movement, meter: Meter, seat: Seat, wanted: Wanted) -> RucioMover:
        shared = self._shared()
        kind = StageMover if movement.name == "stage" else RucioMover
        return kind(
            movement,
            self._host,
            RucioButlers(self._host, self._rucio, movement.order.butler),
            self._carrier,
            self._manifests,
            self._declarations,
            shared.server.within(self._rucio.scope),
            shared.watch,
            self._rucio,
            meter,
            seat,
            wanted,
        )

    def _purger(self, movement: Movement, meter: Meter) -> RucioPurger:
        return RucioPurger(
            movement,
            RucioButlers(self._host, self._rucio, movement.order.butler),
            self._manifests,
            meter,
            self._shared().server.within(self._rucio.scope),
            self._rucio,
        )

    def _wanted_of(self, movement: Movement) -> Wanted:
        """What is wanted of an attempt that is not over; it outlives the daemon in its order."""
        ref, owner = self._orders.ref(movement.order.key), naming.owner(movement)
        if ref not in self._wanted:

            async def keep(told: Mapping[str, Any]) -> None:
                await asyncio.to_thread(self._orders.command, ref, told)

            self._wanted[ref] = Wanted.of(owner, self._orders.record(ref) or {}, keep)
        return self._wanted[ref]

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        """Pause, resume and priority of the rules that attempts wait for. Only transfers, and ingests
        that still bring something, have such rules."""
        return await asyncio.gather(*(self._control(each) for each in controls))

    async def _control(self, asked: Control) -> ControlAnswer:
        record = self._record(JobRef(asked.key, asked.ref))
        if record is None:
            return refused(asked, f"driver '{NAME}' never took it")
        if "outcome" in record:
            return ControlAnswer(asked.key, done=True)
        movement = movement_of(self._orders.order(record))
        problem = refusal(asked) or self._unruled(movement)
        if problem:
            return refused(asked, problem)
        if movement.stage not in RULED:
            return ControlAnswer(asked.key, done=True)
        wanted = self._wanted_of(movement)
        try:
            await wanted.take(asked)
            self._begin(asked.ref)  # an attempt of a former daemon
            words = await wanted.have_done(self._shared().server)
        except DriverError as error:
            return failed(asked, error)
        except OSError as error:
            return ControlAnswer(asked.key, False, ErrorClass.TRANSIENT, str(error))
        return ControlAnswer(asked.key, not words, message=words)

    def _unruled(self, movement: Movement) -> str:
        """Why a site that works for the movement takes no commands, in words."""
        if movement.name == "archive" and movement.stage in RULED and self._rucio.archive_metadata:
            return f"the tape service of {movement.facility} takes no commands"
        return ""

    async def _let_go(self, movement: Movement) -> str:
        """Let the rules of a transfer go whose files no Butler holds yet."""
        self._wanted.pop(self._orders.ref(movement.order.key), None)
        if movement.stage != "transfer" or movement.name == "archive":
            return ""
        try:
            async with asyncio.timeout(WITHDRAW_S):
                mover = self._mover(movement, Meter(), Seat(self._room), Wanted())
                await mover.withdraw()
        except (DriverError, TimeoutError) as error:
            # The attempt is over; its rule stays until a person, or its lifetime, ends it.
            return str(error) or f"its rule could not be let go within {WITHDRAW_S:g} s"
        return ""

    async def inspect(self, ref: JobRef) -> Sequence[Part]:
        """The books, and the movement's rules as Rucio tells of them now."""
        parts = list(await super().inspect(ref))
        record = self._record(ref)
        if record is None:
            return parts
        movement = movement_of(self._orders.order(record))
        try:
            parts += await self._rules(movement)
        except DriverError as error:
            parts.append(Part("rules", "rule", "unknown", message=str(error)))
        return parts[:1000]

    async def _rules(self, movement: Movement) -> list[Part]:
        """The rules of a movement. Raises DriverError at once if Rucio cannot be asked."""
        manifest = await self._manifests.load(movement.manifest_id())
        if manifest is None:
            return []
        server = self._shared().server
        made = [await self._declarations.load(manifest, link) for link in manifest.links]
        names = [name for each in made for name in each.names(self._rucio.scope)]
        return [
            Part(
                f"{rule.name} at {rule.rse}",
                "rule",
                rule.state,
                {"ok": rule.ok, "replicating": rule.replicating, "stuck": rule.stuck},
                message=rule.error,
                link=f"{self._rucio.server}/rules/{rule.id}",
            )
            for scope, name in dict.fromkeys(names)
            for rule in await server.within(scope).rules_of(name, patient=False)
        ]


class RucioDriverFactory:
    """Makes the driver of each facility that names it."""

    name = NAME
    kinds = MoverFactory.kinds
    settings: type[BaseModel] = RucioSettings

    def create(self, facility: FacilityInfo, settings: BaseModel, host: Host) -> RucioDriver:
        """Make the driver; agents and the server are asked when there is work."""
        if not isinstance(settings, RucioSettings):
            raise TypeError(f"settings of the driver '{NAME}' must be RucioSettings")
        carrier = RoutingCarrier(host, settings.patience_s)
        return RucioDriver(facility, settings, host, carrier)
