"""The client against the real agent in the real stack, where both are installed."""

import asyncio
import os
from pathlib import Path

import pytest

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.agent import ButlerAgentFactory
from cmd_local.transport import LocalTransport

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
MAKE_REPO = "import sys; from lsst.daf.butler import Butler; Butler.makeRepo(sys.argv[1])"


@pytest.mark.rubin
async def test_the_real_agent_answers(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    making = await asyncio.create_subprocess_exec(str(PYTHON), "-c", MAKE_REPO, str(repo))
    assert await making.wait() == 0
    host = FakeHost(tmp_path, transports={"HERE": LocalTransport("HERE", tmp_path)})
    info = facility_info(stacks={"w_1": str(PYTHON)}, butlers={"main": str(repo)})
    agent = ButlerAgentFactory().create(info, host)
    try:
        assert (await agent.call("ping", {}))["repos"] == ["main"]
        chains = [{"name": "u/c", "children": ["u/none"], "missing": "skip"}]
        told = await agent.call("chain", {"repo": "main", "chains": chains})
        assert told["chains"]["u/c"]["children"] == []
        with pytest.raises(DriverError, match="no dimension is called") as caught:
            await agent.call("query_data_ids", {"repo": "main", "dimensions": ["vist"]})
        assert caught.value.error_class is ErrorClass.PERMANENT
    finally:
        await agent.close()
