"""A purge where Rucio knows the files: before they go, Rucio is told that they will not be there.

Rubin's reaper leaves the RSEs of Butlers alone, so nothing in Rucio would ever notice. Each replica gets
a tombstone, which Rucio refuses for what a rule holds there, and becomes UNAVAILABLE: it is no source any
more, and a rule that wants it there again has it transferred. Rucio comes first, so that it never names a
replica that is gone, wherever a purge may be interrupted.
"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_local.moving.manifest import Manifests
from cmd_local.moving.orders import Movement
from cmd_local.moving.purging import Purger
from cmd_local.moving.sending import Meter
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.replicas import Locked
from cmd_rucio_butler.server import RucioServer
from cmd_rucio_butler.settings import RucioSettings


class RucioPurger(Purger):
    """Does the purge job of one group. `server` is for the scope of the facility's files."""

    def __init__(
        self,
        movement: Movement,
        butlers: RucioButlers,
        manifests: Manifests,
        meter: Meter,
        server: RucioServer,
        settings: RucioSettings,
    ) -> None:
        super().__init__(movement, butlers, manifests, meter)
        self._rucio_butlers = butlers
        self._server = server
        self._rucio = settings

    async def _renounce(self, runs: Sequence[str], types: Sequence[str]) -> None:
        """See `Purger`: PERMANENT if a rule holds one of the files at the facility's RSE."""
        facility, rse, prefix = self._movement.facility, self._rucio.rse, self._rucio.prefix
        self._meter.note = f"telling Rucio what goes from {rse}"
        for run, type_ in itertools.product(runs, types):
            told = await self._butlers.listed(facility, (run,), (type_,))
            paths = await self._rucio_butlers.named(facility, [each["uuid"] for each in told])
            held = await self._server.held_at(rse, [f"{prefix}{path}" for path in paths])
            await self._bury(rse, held)
            await self._server.renounce(rse, held)

    async def _bury(self, rse: str, lfns: Sequence[str]) -> None:
        """Give replicas their tombstones. A rule that has just been let go holds them for a while."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._rucio.patience_s
        while True:
            try:
                return await self._server.bury(rse, lfns)
            except Locked as locked:
                rules = await self._server.rules_of_file(locked.lfn)
                holding = [each for each in rules if each.rse == rse] or rules
                now = datetime.now(UTC)
                going = all(
                    each.expires_at is not None and each.expires_at <= now for each in holding
                )
                if not going or loop.time() > give_up_at:
                    whose = ", ".join(f"{each.id} of {each.account}" for each in holding)
                    raise DriverError(
                        ErrorClass.TRANSIENT if going else ErrorClass.PERMANENT,
                        f"{self._movement.group}: nothing is purged at {self._movement.facility}: Rucio "
                        f"holds {locked.lfn} at {rse} by a rule ({whose or 'it tells of none'}): let the "
                        "rule go, then retry, or take the type out of 'discard'",
                    ) from locked
            await asyncio.sleep(min(1.0, self._rucio.poll_s))
