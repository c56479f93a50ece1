"""Messages make the next look come sooner, and nothing depends on them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from panda_place import PandaPlace

from cmd_daemon.hooks import JobRef, Phase
from cmd_panda.driver import PandaDriver
from cmd_panda.records import TaskRecord
from cmd_panda.sharing import Shared
from cmd_rucio_butler.hints import StompHints
from cmd_rucio_butler.settings import StompSettings

RECORDED = Path(__file__).parent.parent / "panda_server" / "recordings" / "messages.jsonl"
BODIES: list[dict[str, Any]] = [
    json.loads(line)["body"] for line in RECORDED.read_text().splitlines() if line.strip()
]
STOMP = StompSettings(host="broker", destination="/topic/panda_idds")


@pytest.fixture
async def driver(still: PandaPlace) -> AsyncIterator[PandaDriver]:
    made = await still.driver()
    yield made
    await made.stop()


def hints_of(shared: Shared) -> StompHints:
    """As the shared server makes them, without a broker."""
    return StompHints(STOMP, asyncio.get_running_loop(), shared.wake, shared.heeds, "panda")


async def heard(shared: Shared, bodies: list[Any]) -> int:
    hints = hints_of(shared)
    for body in bodies:
        hints.take(body if isinstance(body, str) else json.dumps(body))
    await asyncio.sleep(0)
    return hints.heard


async def test_news_of_our_tasks_and_of_the_ends_of_their_jobs_are_heeded(
    still: PandaPlace, driver: PandaDriver
) -> None:
    watch = driver._shared().watch
    assert await heard(driver._shared(), list(BODIES)) == 0, "tasks of others"
    ids = {body["taskid"] for body in BODIES}
    (await watch.tasks(0)).take([TaskRecord(id, f"t{id}", "running") for id in ids], 0)
    news = [
        body
        for body in BODIES
        if body["msg_type"] == "task_status"
        or body["status"] in ("finished", "failed", "closed", "cancelled")
    ]
    assert await heard(driver._shared(), list(BODIES)) == len(news)
    assert set(still.host.wakes) == {("USDF", "panda")}


@pytest.mark.parametrize(
    "nonsense",
    ["", "[]", "null", "7", "{", '{"msg_type": "task_status"}', '{"taskid": "NULL", "status": 1}'],
)
async def test_nonsense_is_heard_by_nobody(
    still: PandaPlace, driver: PandaDriver, nonsense: str
) -> None:
    assert await heard(driver._shared(), [nonsense]) == 0
    assert still.host.wakes == []


async def test_news_of_a_task_that_is_over_is_none(still: PandaPlace, driver: PandaDriver) -> None:
    task = still.submit_outside(order := still.order())
    still.advance(300)
    (seen,) = await driver.observe([JobRef(order.key, f"task:{task}")])
    assert seen.phase is Phase.DONE
    late = {"msg_type": "task_status", "taskid": task, "status": "running", "timestamp": 1}
    assert await heard(driver._shared(), [late]) == 0


async def test_a_message_makes_the_next_look_a_new_one_but_a_flood_does_not_make_many(
    still: PandaPlace,
) -> None:
    driver = await still.driver(poll_s=3600.0)
    task = still.submit_outside(order := still.order())
    ref = JobRef(order.key, f"task:{task}")
    still.advance(10)
    assert (await driver.observe([ref]))[0].phase is Phase.RUNNING
    still.advance(300)
    assert (await driver.observe([ref]))[0].phase is Phase.RUNNING, "an hour's look serves on"
    body = {"msg_type": "task_status", "taskid": task, "status": "done", "timestamp": 1}
    assert await heard(driver._shared(), [body] * 500) == 500, "doubled messages do no harm"
    looks = driver._shared().watch.looks
    before = looks.count
    assert (await driver.observe([ref]))[0].phase is Phase.DONE
    assert looks.count == before + 1
    for _ in range(20):
        driver._shared().wake()
        await driver.observe([JobRef("a/b/c/d#1", "task:999")])
    assert looks.count == before + 1, "none sooner than a few seconds after another"
    await driver.stop()


@pytest.mark.parametrize("seed", range(3))
async def test_lost_doubled_and_disordered_messages_change_no_outcome(
    still: PandaPlace, driver: PandaDriver, seed: int
) -> None:
    chance = random.Random(seed)
    still.server.pilot.fail("*", times=1)
    orders = [still.order() for _ in range(6)]
    refs = [JobRef(order.key, f"task:{still.submit_outside(order)}") for order in orders]
    hints = hints_of(driver._shared())
    told = 0
    for _ in range(60):
        still.advance(6)
        messages = still.server.messages.told[told:]
        told += len(messages)
        sent = [m for m in messages if chance.random() > 0.4] * chance.choice((1, 2))
        chance.shuffle(sent)
        for message in sent:
            hints.take(json.dumps(message))
        await asyncio.sleep(0)
        seen = await driver.observe(refs)
        if all(each.phase is Phase.DONE for each in seen):
            break
    assert [each.outcome and each.outcome.ok for each in seen] == [False] * 6
