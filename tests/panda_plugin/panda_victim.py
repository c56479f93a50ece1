"""A driver that is killed at a chosen moment of a submission.

python panda_victim.py JOB   (JOB: JSON with `facility`, `section`, `state`, `order`, `moment`, and `now`:
the server's time, microseconds UTC, which stands still)
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import FacilityInfo, JobKind, JobOrder
from cmd_daemon.testing.host import FakeHost, facility_info
from cmd_panda.driver import PandaDriver
from cmd_panda.server import PandaServer
from cmd_panda.settings import PandaSettings


class StillHost(FakeHost):
    """The host with the server's clock, which stands still."""

    def __init__(self, job: dict[str, Any], facility: FacilityInfo) -> None:
        super().__init__(Path(job["state"]), {facility.name: facility})
        self._now: int = job["now"]

    def now(self) -> int:
        """Microseconds UTC."""
        return self._now


def die() -> None:
    """As `kill -9` does it."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(job: dict[str, Any]) -> None:
    """Submit the order; never comes to an end."""
    send = PandaServer.submit_task

    async def send_and_die(self: PandaServer, parameters: Any) -> int:
        if job["moment"] == "before":
            die()
        task = await send(self, parameters)
        die()
        return task

    PandaServer.submit_task = send_and_die  # type: ignore[method-assign]
    info = facility_info(job["facility"], settings={"panda": job["section"]})
    settings = PandaSettings.model_validate(job["section"])
    driver = PandaDriver(info, settings, StillHost(job, info))
    await driver.start()
    await driver.submit([JobOrder(**{**job["order"], "kind": JobKind.SCRIPT})])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
