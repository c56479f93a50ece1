"""What the engine keeps in memory: nothing of campaigns that are archived, little of requests answered."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from engine_house import House, step

from cmd_daemon.engine import requests as requests_module
from cmd_daemon.engine.requests import REMEMBERED_US, Asked, Requests
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.records import RequestRow

BOUNDED = ("feed", "observers", "timers", "_requests", "_told")
"""Parts of the engine that hold so much at most, and get there slowly, or until a time has come."""


def sizes(thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    """How many entries each container has that is reachable from `thing` through objects of the engine
    and the kernel."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    kind = type(thing)
    if isinstance(thing, dict | set | list | deque):
        yield path, len(thing)
        values = thing.values() if isinstance(thing, dict) else thing
        for number, value in enumerate(list(values)):
            yield from sizes(value, f"{path}[{number}]", seen)
    elif kind.__module__.startswith(("cmd_daemon.engine", "cmd_daemon.kernel")):
        names = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
        for name in (*names, *getattr(thing, "__dict__", ())):
            if name not in BOUNDED and hasattr(thing, name):
                yield from sizes(getattr(thing, name), f"{path}.{name}", seen)


async def test_of_archived_campaigns_nothing_stays(house: House) -> None:
    async with house.running() as engine:

        async def live(name: str) -> None:
            ident = await house.apply(name, one=step(3), two=step(2, "one"))
            await house.reach("ACCEPTED", name)
            await engine.ask(ev.CampaignArchived(campaign_id=ident, actor="me"))

        async def cancelled(name: str) -> None:
            ident = await house.apply(name, one=step(3, fake={"run_s": None}))
            await engine.ask(ev.CampaignPaused(campaign_id=ident))
            await engine.ask(ev.CampaignCancelled(campaign_id=ident))
            await house.reach("CANCELLED", name)
            await engine.ask(ev.CampaignArchived(campaign_id=ident, actor="me"))

        def kept() -> Mapping[str, int]:
            return dict(sizes(engine, "engine", set()))

        for name in ("c0", "c1"):
            await live(name)
            await cancelled(f"cancelled-{name}")
        before = kept()
        for number in range(2, 8):
            await live(f"c{number}")
            await cancelled(f"cancelled-c{number}")
        grown = {path: size for path, size in kept().items() if size > before.get(path, 0) + 2}
        assert not grown


def answered(requests: Requests, name: str, at: int) -> RequestRow:
    """A request that has had its answer at a moment."""
    row = RequestRow(name, "Pause", "digest", b"", at)
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    requests.begin(row, Asked(ev.CampaignPaused(campaign_id=1), answer, row))
    answer.set_result(None)
    requests.answered(row, at)
    return row


async def test_answers_are_kept_for_a_while_and_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = Requests()
    first = answered(requests, "a", 1)
    assert requests.find(first) is not None
    second = answered(requests, "b", 1 + REMEMBERED_US)
    assert requests.find(first) is not None
    third = answered(requests, "c", 2 + REMEMBERED_US)
    assert requests.find(first) is None
    assert requests.find(second) is not None
    monkeypatch.setattr(requests_module, "REMEMBERED", 2)
    answered(requests, "d", 2 + REMEMBERED_US)
    assert requests.find(second) is None
    assert requests.find(third) is not None
    assert len(requests) == 2


async def test_a_request_without_an_answer_stays_however_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = Requests()
    row = RequestRow("a", "Pause", "digest", b"", 1)
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asked = Asked(ev.CampaignPaused(campaign_id=1), answer, row)
    requests.begin(row, asked)
    answer.set_result(None)  # and its call is not told yet
    monkeypatch.setattr(requests_module, "REMEMBERED", 1)
    answered(requests, "b", 3 * REMEMBERED_US)
    answered(requests, "c", 3 * REMEMBERED_US)
    assert requests.find(row) is asked
    requests.answered(row, 3 * REMEMBERED_US)
    assert requests.find(row) is None
