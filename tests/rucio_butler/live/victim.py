"""A driver that is killed the moment Rucio has made a rule for it, before it can know.

python victim.py JOB     (JOB: JSON, see `test_a_rule_made_just_before_a_kill_is_adopted`)
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.moving.carrier import SameMachineCarrier
from cmd_local.transport import LocalTransport
from cmd_rucio_butler.agent import RucioAgentFactory
from cmd_rucio_butler.driver import RucioDriver
from cmd_rucio_butler.server import RucioServer
from cmd_rucio_butler.settings import rucio_settings


async def main(job: dict[str, Any]) -> None:
    """Submit the order; never comes to an end."""
    make = RucioServer.add_rule

    async def make_and_die(self: RucioServer, name: str, rse: str, **options: Any) -> str | None:
        await make(self, name, rse, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    RucioServer.add_rule = make_and_die  # type: ignore[method-assign]
    infos = {name: facility_info(name, **told) for name, told in job["facilities"].items()}
    state = Path(job["state"])
    plain = FakeHost(state, infos, transports={n: LocalTransport(n, state) for n in infos})
    agents = {name: RucioAgentFactory().create(info, plain) for name, info in infos.items()}
    host = FakeHost(state, infos, agents)
    driver = RucioDriver(infos["FrDF"], rucio_settings(infos["FrDF"]), host, SameMachineCarrier())
    await driver.start()
    chain = f"out/{job['scenario']}/make"
    order = JobOrder(
        key=job["key"],
        campaign=job["scenario"],
        step="make",
        group="g1",
        job="keep-transfer",
        attempt=1,
        kind=JobKind.TRANSFER,
        facility="FrDF",
        params=job["params"],
        butler="main",
        output_chain=f"{chain}/g1",
        step_chain=chain,
    )
    await driver.submit([order])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
