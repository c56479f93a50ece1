"""The agent's client against a small real process, and against the real agent where it is."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from local_setup import until

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.agent import ButlerAgent, ButlerAgentFactory
from cmd_local.transport import LocalTransport

FAKE = Path(__file__).with_name("fake_agent.py")


def host_of(state_dir: Path) -> FakeHost:
    """A host whose facility is on this machine."""
    return FakeHost(state_dir, transports={"HERE": LocalTransport("HERE", state_dir)})


Make = Callable[..., AbstractAsyncContextManager[ButlerAgent]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Agents with these settings, closed at the end."""

    @asynccontextmanager
    async def made(**settings: Any) -> AsyncIterator[ButlerAgent]:
        section = {"program": str(FAKE), "backoff_s": 0.05, **settings}
        info = facility_info(
            stacks={"w_1": sys.executable},
            butlers={"main": "/repo one"},
            settings={"agent": section},
        )
        agent = ButlerAgentFactory().create(info, host_of(tmp_path))
        try:
            yield agent
        finally:
            await agent.close()

    return made


async def failed(agent: ButlerAgent, op: str, timeout_s: float = 10.0, **args: Any) -> DriverError:
    with pytest.raises(DriverError) as caught:
        await agent.call(op, args, timeout_s)
    assert "agent of facility HERE" in str(caught.value)
    return caught.value


async def answered(agent: ButlerAgent, op: str = "echo", **args: Any) -> Any:
    """Ask until the agent is there again after its pause."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await agent.call(op, args)
            except DriverError as error:
                if error.error_class is not ErrorClass.TRANSIENT:
                    raise
                await asyncio.sleep(0.01)


async def test_it_starts_at_the_first_call_and_answers(make: Make) -> None:
    async with make() as agent:
        assert agent._life is None
        assert await agent.call("echo", {"a": [1, "é"]}) == {"a": [1, "é"]}
        assert agent._life is not None


async def test_callers_at_the_same_time_get_their_own_answers(make: Make) -> None:
    async with make() as agent:
        answers = await asyncio.gather(*(agent.call("hold", {}) for _ in range(3)))
        assert answers == sorted(answers)
        assert len(set(answers)) == 3


async def test_a_large_answer(make: Make) -> None:
    async with make() as agent:
        assert len(await agent.call("large", {"size": 8 << 20})) == 8 << 20


@pytest.mark.parametrize(
    ("told", "error_class"),
    [
        ({"class": "Permanent", "message": "no such dimension"}, ErrorClass.PERMANENT),
        ({"class": "NotYet", "message": "no such dimension"}, ErrorClass.NOT_YET),
        ({"class": "Odd", "message": "no such dimension"}, ErrorClass.PERMANENT),
    ],
)
async def test_the_agents_errors_keep_their_class(
    make: Make, told: dict[str, str], error_class: ErrorClass
) -> None:
    async with make() as agent:
        error = await failed(agent, "fail", **told)
        assert error.error_class is error_class
        assert "no such dimension" in str(error)


async def test_death_fails_what_is_under_way_and_it_starts_again(
    make: Make, tmp_path: Path
) -> None:
    async with make() as agent:
        hanging = asyncio.create_task(failed(agent, "hang"))
        error = await failed(agent, "die")
        assert error.error_class is ErrorClass.TRANSIENT
        assert "a bad end" in str(error)
        assert (await hanging).error_class is ErrorClass.TRANSIENT
        assert await answered(agent, a=1) == {"a": 1}
        assert "a bad end" in (tmp_path / "agents" / "agent-HERE.log").read_text()


async def test_the_pause_grows_with_each_death(make: Make) -> None:
    async with make(backoff_s=30.0) as agent:
        await failed(agent, "die")
        error = await failed(agent, "echo")
        assert "is started again in" in str(error)
        assert error.error_class is ErrorClass.TRANSIENT


async def test_a_deadline_spares_the_agent_once(make: Make) -> None:
    async with make() as agent:
        assert "no answer to 'hang' within 0.05 s" in str(await failed(agent, "hang", 0.05))
        assert await agent.call("echo", {}) == {}
        assert await failed(agent, "hang", 0.05)
        assert await agent.call("echo", {}) == {}, "an answer in between: it is not hung"


async def test_a_hung_agent_is_killed_at_the_second_deadline(make: Make) -> None:
    async with make() as agent:
        await agent.call("echo", {})
        assert agent._life is not None
        pid = agent._life.process.pid
        await failed(agent, "block", 0.05)
        await failed(agent, "echo", 0.05)
        assert await answered(agent, a=2) == {"a": 2}
        assert agent._life.process.pid != pid


async def test_lines_that_are_no_answers_are_skipped(make: Make) -> None:
    async with make() as agent:
        assert await agent.call("babble", {}) == "after all"


async def test_an_agent_that_cannot_start_says_why(make: Make, tmp_path: Path) -> None:
    info = facility_info(stacks={"w_1": "/no/such/python"}, settings={})
    agent = ButlerAgentFactory().create(info, host_of(tmp_path))
    error = await failed(agent, "echo")
    assert error.error_class is ErrorClass.TRANSIENT
    assert "/no/such/python" in str(error)


async def test_an_agent_that_dies_at_its_start(make: Make, tmp_path: Path) -> None:
    program = tmp_path / "dies.py"
    program.write_text("import sys\nsys.exit('no stack here')\n")
    async with make(program=str(program)) as agent:
        assert "no stack here" in str(await failed(agent, "echo"))


async def test_an_agent_that_is_never_ready_is_ended(make: Make, tmp_path: Path) -> None:
    program = tmp_path / "sleeps.py"
    program.write_text("import time\ntime.sleep(600)\n")
    async with make(program=str(program), start_s=0.3) as agent:
        assert "was not ready after 0.3 s" in str(await failed(agent, "echo"))


@pytest.mark.parametrize(
    ("section", "stacks", "words"),
    [
        ({"stack": "w_9"}, {"w_1": "p"}, "names the stack 'w_9', the facility has: w_1"),
        ({}, {"w_1": "p", "w_2": "p"}, "names no stack, the facility has: w_1, w_2"),
        ({"sack": "w_1"}, {"w_1": "p"}, "section 'agent' of its settings is wrong"),
    ],
)
def test_a_wrong_configuration(
    tmp_path: Path, section: dict[str, str], stacks: dict[str, str], words: str
) -> None:
    info = facility_info(stacks=stacks, settings={"agent": section})
    with pytest.raises(DriverError, match=words) as caught:
        ButlerAgentFactory().create(info, host_of(tmp_path))
    assert caught.value.error_class is ErrorClass.PERMANENT


async def test_closing_ends_the_process(make: Make) -> None:
    async with make() as agent:
        await agent.call("echo", {})
        assert agent._life is not None
        process = agent._life.process
    assert process.returncode is not None
    assert (await failed(agent, "echo")).error_class is ErrorClass.TRANSIENT


async def test_closing_ends_a_hung_process(make: Make) -> None:
    async with make() as agent:
        await failed(agent, "block", 0.05)
        assert agent._life is not None
        os.kill(agent._life.process.pid, signal.SIGSTOP)
        process = agent._life.process
        os.kill(process.pid, signal.SIGCONT)
    assert process.returncode is not None


async def test_a_caller_that_goes_away_leaves_the_others(make: Make) -> None:
    async with make() as agent:
        await agent.call("echo", {})
        gone = asyncio.create_task(agent.call("hang", {}))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await agent.call("echo", {}) == {}
        assert agent._life is not None
        await until(lambda: not agent._life.waiting)  # type: ignore[union-attr]


async def test_a_caller_that_goes_away_does_not_end_the_start(make: Make) -> None:
    async with make(backoff_s=30.0) as agent:
        first = asyncio.create_task(agent.call("echo", {}))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await agent.call("echo", {"b": 1}) == {"b": 1}
