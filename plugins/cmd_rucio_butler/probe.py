"""What Rucio tells of a facility: whether it answers, and how much waits to be sent there."""

import asyncio

from cmd_daemon.hooks import Check, FacilityInfo, FacilityReport, Host
from cmd_rucio_butler.settings import NAME, RucioSettings, rucio_settings
from cmd_rucio_butler.sharing import Servers

REMEMBERED_S = 60.0
"""For how long one answer of a server serves the looks at all its facilities."""

ANSWER_S = 10.0
"""Seconds a server has for an answer; the engine gives a look a few more."""

Queues = dict[tuple[str, str], int]


class RucioProbe:
    """Asks a facility's Rucio for the queues of its links. A Rucio that does not answer is told of, but
    keeps no work away: groups run without it."""

    name = NAME

    def __init__(self) -> None:
        self._queues: dict[str, tuple[int, Queues]] = {}
        self._asking = asyncio.Lock()

    async def look(self, facility: FacilityInfo, host: Host) -> FacilityReport:
        """See `FacilityProbe`; nothing is told of a facility without a section `rucio`."""
        if NAME not in facility.settings:
            return FacilityReport()
        try:
            mine = rucio_settings(facility)
            async with asyncio.timeout(ANSWER_S):
                queues = await self._asked(mine, host)
            backlog = {
                source: sum(queues.get((rse, mine.rse), 0) for rse in _rses(source, host))
                for source in facility.links or {}
            }
        except TimeoutError:
            problem = f"Rucio at {mine.server} did not answer in {ANSWER_S:.0f} s"
        except Exception as error:  # noqa: BLE001 - else the engine would take the facility as down
            problem = str(error) or type(error).__name__
        else:
            return FacilityReport(checks=(Check(NAME, True, vital=False),), backlog=backlog)
        return FacilityReport(checks=(Check(NAME, False, problem, vital=False),))

    async def _asked(self, settings: RucioSettings, host: Host) -> Queues:
        async with self._asking:  # whoever looks meanwhile shares the answer
            now = host.now()
            at, queues = self._queues.get(settings.identity(), (None, {}))
            if at is None or now - at >= REMEMBERED_S * 1e6:
                servers = Servers.of(host)
                try:
                    queues = await servers.at(settings, self).server.backlog()
                finally:
                    await servers.let_go(self)
                self._queues[settings.identity()] = (now, queues)
            return queues


def _rses(facility: str, host: Host) -> tuple[str, ...]:
    """The RSEs of a facility; none if it has none, or is not configured. Raises DriverError."""
    try:
        info = host.facility(facility)
    except KeyError:
        return ()
    if NAME not in info.settings:
        return ()
    return rucio_settings(info).rses
