"""The agent of a facility that is another machine: lost connections, and an agent that hangs there."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from far_machine import FarMachine

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_housekeeping.connection import Connections
from cmd_housekeeping.ssh_transport import SshTransportFactory
from cmd_local.agent import ButlerAgent, ButlerAgentFactory

FAKE = Path(__file__).resolve().parents[1] / "plugins" / "fake_agent.py"


@contextlib.asynccontextmanager
async def agent_at(far: FarMachine, **settings: Any) -> AsyncIterator[ButlerAgent]:
    """The tests' own agent at the far machine, closed at the end."""
    section = {"program": str(FAKE), "backoff_s": 0.05, "backoff_max_s": 0.1, **settings}
    info = facility_info(
        "FAR",
        transport="ssh",
        stacks={"w_1": sys.executable},
        butlers={"main": "/repo one"},
        settings={
            "agent": section,
            "ssh": far.settings().model_dump(mode="json", exclude_none=True),
        },
    )
    host = FakeHost(far.root / "state", {"FAR": info})
    transport = SshTransportFactory(Connections()).create(info, host)
    host = FakeHost(far.root / "state", {"FAR": info}, transports={"FAR": transport})
    agent = ButlerAgentFactory().create(info, host)
    try:
        yield agent
    finally:
        await agent.close()
        await transport.close()


async def failed(agent: ButlerAgent, op: str, timeout_s: float = 10.0, **args: Any) -> DriverError:
    with pytest.raises(DriverError) as caught:
        await agent.call(op, args, timeout_s)
    return caught.value


async def answered(agent: ButlerAgent, op: str = "echo", **args: Any) -> Any:
    """Ask until the agent is there again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await agent.call(op, args)
            except DriverError as error:
                if error.error_class is not ErrorClass.TRANSIENT:
                    raise
                await asyncio.sleep(0.02)


async def pid_of(agent: ButlerAgent) -> int:
    """The process id of the agent as it is now."""
    await answered(agent)
    assert agent._life is not None
    return int(agent._life.ready.result()["pid"])


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(20):
        while psutil.pid_exists(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_it_runs_from_the_work_directory_and_ends_with_the_daemon(far: FarMachine) -> None:
    async with agent_at(far, env={"MARK": "a b"}) as agent:
        assert await agent.call("echo", {"a": [1, "é"]}) == {"a": [1, "é"]}
        pid = await pid_of(agent)
        process = psutil.Process(pid)
        assert process.environ()["MARK"] == "a b"
        (program,) = (far.work / "programs").glob("*/fake_agent.py")
        assert process.environ()["CMD_PROCESS"]
        assert process.cmdline() == [sys.executable, str(program), "--repo=main=/repo one"]
    assert not psutil.pid_exists(pid)


async def test_a_large_answer(far: FarMachine) -> None:
    async with agent_at(far) as agent:
        assert len(await agent.call("large", {"size": 8 << 20})) == 8 << 20


async def test_a_lost_connection_is_a_death_and_it_starts_again(far: FarMachine) -> None:
    async with agent_at(far) as agent:
        pid = await pid_of(agent)
        hanging = asyncio.create_task(failed(agent, "hang"))
        await asyncio.sleep(0)
        far.cut()
        error = await hanging
        assert error.error_class is ErrorClass.TRANSIENT
        assert "the connection to" in str(error)
        assert await answered(agent, a=1) == {"a": 1}
        assert await pid_of(agent) != pid
        await gone(pid)


async def test_a_server_that_is_away_for_a_while(far: FarMachine) -> None:
    async with agent_at(far) as agent:
        await pid_of(agent)
        far.stop()
        error = await failed(agent, "echo")
        assert error.error_class is ErrorClass.TRANSIENT
        far.start()
        assert await answered(agent, a=1) == {"a": 1}


async def test_a_hung_agent_is_killed_there(far: FarMachine) -> None:
    async with agent_at(far) as agent:
        pid = await pid_of(agent)
        await failed(agent, "block", 0.05)
        await failed(agent, "echo", 0.05)
        assert await pid_of(agent) != pid
        await gone(pid)


async def test_an_agent_that_hangs_when_the_connection_is_lost_is_killed(far: FarMachine) -> None:
    async with agent_at(far) as agent:
        pid = await pid_of(agent)
        os.kill(pid, signal.SIGSTOP)  # it does not even see that its input has ended
        far.cut()
        assert await pid_of(agent) != pid
        await gone(pid)


async def test_a_wrong_stack_says_what_is_missing(far: FarMachine) -> None:
    info = facility_info(
        "FAR",
        transport="ssh",
        stacks={"w_1": "/no/such/python"},
        settings={"ssh": far.settings().model_dump(mode="json", exclude_none=True)},
    )
    transport = SshTransportFactory(Connections()).create(info, FakeHost(far.root))
    host = FakeHost(far.root / "state", {"FAR": info}, transports={"FAR": transport})
    agent = ButlerAgentFactory().create(info, host)
    error = await failed(agent, "ping")
    assert error.error_class is ErrorClass.TRANSIENT
    assert "/no/such/python" in str(error)
    await agent.close()
    await transport.close()
