"""A driver that is killed at a chosen moment of a submission.

python panda_victim.py JOB   (JOB: JSON with `facility`, `section`, `state`, `order`, `moment`)
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing.host import FakeHost, facility_info
from cmd_panda.driver import PandaDriver
from cmd_panda.server import PandaServer
from cmd_panda.settings import PandaSettings


class RealHost(FakeHost):
    """The host with the machine's clock."""

    def now(self) -> int:
        """Microseconds UTC."""
        return time.time_ns() // 1000


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
    host = RealHost(Path(job["state"]), {info.name: info})
    driver = PandaDriver(info, PandaSettings.model_validate(job["section"]), host)
    await driver.start()
    await driver.submit([JobOrder(**{**job["order"], "kind": JobKind.SCRIPT})])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
