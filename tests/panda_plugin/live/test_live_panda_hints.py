"""Over a real broker: what PanDA tells there wakes the driver; a broker that dies does not matter."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "rucio"), str(TESTS / "panda_plugin"), str(TESTS / "panda_server")]

from panda_place import PandaPlace  # noqa: E402
from rucio_site.broker import Broker  # noqa: E402

from cmd_daemon.hooks import JobRef, Phase  # noqa: E402
from cmd_panda.driver import PandaDriver  # noqa: E402
from cmd_rucio_butler import hints  # noqa: E402

DEADLINE_S = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path / "broker", tmp_path / "broker.log")
    running.process.start()
    yield running
    running.process.kill()


async def until(true: Callable[[], Any], what: str) -> None:
    """Wait for it."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - whatever is waited for has no event
            await asyncio.sleep(0.05)
    assert true(), what


async def test_messages_wake_and_their_loss_does_not_matter(
    still: PandaPlace, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "AGAIN_S", 0.2)
    driver: PandaDriver = await still.driver(
        poll_s=3600.0,
        stomp={"host": "127.0.0.1", "port": broker.port, "destination": "/topic/panda_idds"},
    )
    listener = driver._shared().hints
    assert listener is not None
    task = still.submit_outside(order := still.order())
    ref = JobRef(order.key, f"task:{task}")
    still.advance(10)
    assert (await driver.observe([ref]))[0].phase is Phase.RUNNING
    still.server.messages.connect("127.0.0.1", broker.port)
    # Nobody tells when a topic's subscription holds: messages come until one is heard.
    while not listener.heard:
        still.server.messages({"msg_type": "task_status", "taskid": task, "status": "running"})
        await asyncio.sleep(0.1)
    heard, still.server.messages.double = listener.heard, 100
    still.advance(300)
    await until(lambda: listener.heard > heard, "news of the task")
    assert ("USDF", "panda") in still.host.wakes
    assert (await driver.observe([ref]))[0].phase is Phase.DONE

    await asyncio.to_thread(still.server.messages.close)
    await asyncio.to_thread(broker.process.kill)
    other = still.submit_outside(later := still.order())
    still.advance(300)
    still.advance(3600)
    (seen,) = await driver.observe([JobRef(later.key, f"task:{other}")])
    assert seen.phase is Phase.DONE, "the look comes without a message"
    await driver.stop()
