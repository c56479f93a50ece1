"""More places to die at, in rounds with a Rucio: the moment it, or a Butler, has done what the driver asked
for, before anybody here knows. They work as `cmd_daemon.failpoints` do."""

import functools
from typing import Any

import rucio.client  # noqa: F401 - heavy, and every daemon will want it
from campaign_faults import RUCIO_POINTS

from cmd_daemon.failpoints import failpoint
from cmd_rucio_butler.asking import RucioButlers
from cmd_rucio_butler.server import RucioServer

CLASSES: dict[str, type] = {"RucioButlers": RucioButlers, "RucioServer": RucioServer}


def plant() -> None:
    """Plant them in this process and those that are forked from it."""
    for point, (owner, call) in RUCIO_POINTS.items():
        _plant(CLASSES[owner], call, point)


def _plant(owner: type, call: str, point: str) -> None:
    done = getattr(owner, call)

    @functools.wraps(done)
    async def done_and_told(*args: Any, **options: Any) -> Any:
        answer = await done(*args, **options)
        failpoint(point)
        return answer

    setattr(owner, call, done_and_told)
