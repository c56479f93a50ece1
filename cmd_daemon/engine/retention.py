"""Archived campaigns leave the database after a while: exported to a folder, then removed in chunks."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import structlog

from cmd_daemon.engine.clock import Clock
from cmd_daemon.failpoints import failpoint
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.entities import Campaign

log = structlog.get_logger()

LOOK_S = 3600.0
LOOK_LEAST_S = 10.0
"""Seconds between two looks: a tenth of the time that campaigns are kept, within these bounds."""

REST_S = 0.01
"""Seconds between two chunks at least; otherwise as long as the last one took."""

DAY = 86_400_000_000


class Archive(Protocol):
    """The store, as far as it forgets."""

    async def archived_before(self, at: int) -> list[Campaign]:
        """Archived campaigns that ended before a moment and are still there."""

    async def remove_some(self, campaign_id: int) -> bool:
        """Remove one chunk of a campaign; whether anything is left."""

    async def forget_decided(self) -> bool:
        """Remove some events that are older than every campaign; whether there were any."""


class Retention:
    """Takes campaigns that were archived, and ended more than `after_days` ago, out of the database.

    First the whole campaign is in its file, durably; only then the first chunk goes. The campaign itself
    stays, and its name with it: keys of attempts begin with it, wherever they are. Whatever is cut off
    by the end of the daemon goes on with the next one, by what is in the folder and in the database.
    """

    def __init__(
        self,
        archive: Archive,
        export: Callable[[str, Path], Awaitable[int]],
        clock: Clock,
        ask: Callable[[ev.Event], Awaitable[Decision]],
        after_days: float,
        directory: Path,
    ) -> None:
        self._archive = archive
        self._export = export
        self._clock = clock
        self._ask = ask
        self._after = round(after_days * DAY)
        self._look_s = min(max(self._after / 10e6, LOOK_LEAST_S), LOOK_S)
        self._directory = directory

    async def run(self) -> None:
        """Look again and again, for ever. A failure is logged; the next look tries again."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the daemon goes on, whatever it is
                log.warning("archived campaigns could not be removed", problem=str(error))
            await self._clock.wait(self._look_s)

    async def look(self) -> None:
        """Remove what is old enough now."""
        for campaign in await self._archive.archived_before(self._clock.now() - self._after):
            await self._remove(campaign)
        while await self._archive.forget_decided():
            await self._clock.wait(REST_S)

    async def _remove(self, campaign: Campaign) -> None:
        file = self.file_of(campaign)
        if not file.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            for half in self._directory.glob(f"{file.name}.*"):
                half.unlink()
            await self._export(campaign.name, file)
        # Its record is newer than all that goes: no sequence number is ever given twice.
        await self._ask(
            ev.CampaignRemoved(campaign_id=campaign.id, campaign=campaign.name, file=str(file))
        )
        chunks = 0
        more = True
        while more:
            began = time.monotonic()
            more = await self._archive.remove_some(campaign.id)
            chunks += 1
            failpoint("after-chunk")
            await self._clock.wait(max(time.monotonic() - began, REST_S))
        log.info(
            "an archived campaign was removed",
            campaign=campaign.name,
            file=str(file),
            chunks=chunks,
        )

    def file_of(self, campaign: Campaign) -> Path:
        """Where a campaign goes."""
        ended = time.gmtime((campaign.finished_at or 0) // 1_000_000)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", ended)
        return self._directory / f"{campaign.name}-{stamp}.jsonl.gz"
