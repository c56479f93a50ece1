"""The daemon's process is killed in the middle of a submission."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from panda_place import PandaPlace

from cmd_daemon.hooks import Absent, Accepted, Found, JobOrder, Refused, Unclear

VICTIM = Path(__file__).parent / "panda_victim.py"
DEADLINE_S = 60.0


async def killed(place: PandaPlace, order: JobOrder, moment: str) -> None:
    """A driver of its own process submits the order and is killed at the moment."""
    job = {
        "facility": "USDF",
        "section": place.section(),
        "state": str(place.host.state_dir),
        "now": place.host.now(),
        "moment": moment,
        "order": {
            name: getattr(order, name)
            for name in ("key", "campaign", "step", "group", "job", "attempt", "facility", "params")
        },
    }
    child = await asyncio.create_subprocess_exec(sys.executable, str(VICTIM), json.dumps(job))
    async with asyncio.timeout(DEADLINE_S):
        assert await child.wait() == -signal.SIGKILL


async def test_killed_after_panda_took_it_and_before_it_was_noted(still: PandaPlace) -> None:
    still.earlier_task()
    still.advance(60)
    order = still.order()
    await killed(still, order, "after")
    (task,) = still.tasks_named(order.key)
    assert not task.visible
    driver = await still.driver()
    assert list(await driver.find([order.key])) == [Found(order.key, f"task:{task.id}")]
    assert list(await driver.submit([order])) == [Accepted(order.key, f"task:{task.id}")]
    assert still.tasks_named(order.key) == [task]
    await driver.stop()


async def test_killed_before_it_was_sent(still: PandaPlace) -> None:
    order = still.order()
    await killed(still, order, "before")
    assert still.tasks_named(order.key) == []
    driver = await still.driver()
    (unclear,) = await driver.find([order.key])
    assert isinstance(unclear, Unclear), "nobody knows that it was not sent"
    (waits,) = await driver.submit([order])
    assert isinstance(waits, Refused)
    still.advance(120)
    assert list(await driver.find([order.key])) == [Absent(order.key)]
    assert isinstance((await driver.submit([order]))[0], Accepted)
    assert len(still.tasks_named(order.key)) == 1
    await driver.stop()
