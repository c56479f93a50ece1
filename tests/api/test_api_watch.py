"""WatchEvents: no gap, no duplicate, whatever comes between."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from api_house import House, config, methods, refusal, request_of, serving, until

from cmd_daemon.api import events as service

(WATCH,) = [m for m in methods() if m.name == "WatchEvents"]


async def watched(house: House, token: str = "", **fields: Any) -> Any:
    """The batches of one watch; it ends with its connection."""
    stream = house.channel.unary_stream(
        "/cmd_api.v1.EventService/WatchEvents",
        request_serializer=lambda r: r.SerializeToString(),
        response_deserializer=service.pb.WatchEventsResponse.FromString,
    )(request_of(WATCH, resume_token=token, **fields))
    try:
        async for batch in stream:
            yield batch
    finally:
        stream.cancel()


async def everything(house: House, **fields: Any) -> list[Any]:
    """All listed events, oldest first."""
    return [e async for e in house.client.events(**fields)]


async def test_watch_under_load_with_broken_connections(house: House) -> None:
    seen: list[int] = []
    token = "0"

    async def watch(batches: int) -> None:
        nonlocal token
        async for batch in watched(house, token):
            seen.extend(e.seq for e in batch.events)
            token = batch.resume_token
            batches -= 1
            if not batches:
                return

    watching = asyncio.create_task(watch(0))
    await house.applied(count=400)
    watching.cancel()
    for length in (1, 2, 3, 2, 5, 1, 2):
        await asyncio.wait_for(watch(length), 20)
    await house.reach("campaigns/camp/steps/look", "REVIEW")
    last = house.daemon.engine.feed.last_seq
    rest = asyncio.create_task(watch(0))
    await until(lambda: seen and seen[-1] >= last)
    rest.cancel()
    listed = [e.seq for e in await everything(house)]
    assert seen == listed
    assert seen == list(range(1, len(seen) + 1))


async def test_a_watch_tells_at_once_where_it_begins_and_beats_when_idle(
    full: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HEARTBEAT_S", 0.05)
    last = str(full.daemon.engine.feed.last_seq)
    batches = []
    async for batch in watched(full):
        batches.append(batch)
        if len(batches) == 3:
            break
    assert [b.resume_token for b in batches] == [last] * 3
    assert not any(b.events for b in batches)


async def test_filters(full: House) -> None:
    listed = await everything(full)
    for fields in (
        {"parent": "campaigns/camp/steps/one/groups/2"},
        {"parent": "campaigns/camp/steps/one", "kinds": ["group"]},
        {"kinds": ["campaign", "step"]},
    ):
        parent, kinds = fields.get("parent", ""), fields.get("kinds", ())
        wanted = [
            e.seq
            for e in listed
            if (not parent or e.name == parent or e.name.startswith(f"{parent}/"))
            and (not kinds or e.kind in kinds)
        ]
        seen: list[int] = []
        async for batch in watched(full, "0", **fields):
            seen += [e.seq for e in batch.events]
            if len(seen) >= len(wanted):
                break
        assert seen == wanted
        assert wanted


@pytest.mark.parametrize(
    ("token", "code", "reason"),
    [
        ("999999999", grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_TOO_OLD"),
        ("nonsense", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ("-1", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ("٣", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ("9" * 40, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    ],
)
async def test_tokens_that_are_none(
    full: House, token: str, code: grpc.StatusCode, reason: str
) -> None:
    asked = full.raw(WATCH, request_of(WATCH, resume_token=token))
    assert await refusal(asked) == (code, reason)


async def test_a_slow_watcher_holds_up_nobody_and_misses_nothing(house: House) -> None:
    slow = watched(house, "0")
    first = await anext(slow)
    assert not first.events
    await house.applied(count=1500)
    await house.reach("campaigns/camp/steps/look", "REVIEW")
    last = house.daemon.engine.feed.last_seq
    seen: list[int] = []
    async for batch in slow:
        seen += [e.seq for e in batch.events]
        if seen and seen[-1] >= last:
            break
    assert seen == list(range(1, seen[-1] + 1))


async def test_watches_resume_over_a_restart_of_the_daemon(tmp_path: Path) -> None:
    """The daemon ends watches first, so that it stops at once; clients go on where they were."""
    async with serving(config(tmp_path)) as house:
        await house.applied()
        await house.reach("campaigns/camp/steps/look", "REVIEW")
        first = await anext(watched(house, "0"))
        assert first.resume_token == "0"
        batches = watched(house)
        token = (await anext(batches)).resume_token
        waiting = asyncio.create_task(anext(batches))
        began = asyncio.get_running_loop().time()
        house.daemon.engine.feed.end()
        with pytest.raises(grpc.RpcError) as ended:
            await waiting
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert asyncio.get_running_loop().time() - began < 5
    async with serving(config(tmp_path)) as house:
        await house.client.sign_step("campaigns/camp/steps/look", reason="fine")
        await house.reach("campaigns/camp", "ACCEPTED")
        last = house.daemon.engine.feed.last_seq
        seen: list[int] = []
        async for batch in watched(house, token):
            seen += [e.seq for e in batch.events]
            if seen and seen[-1] >= last:
                break
        assert seen == list(range(int(token) + 1, last + 1))


async def test_watchers_that_went_away_are_let_go(full: House) -> None:
    async def one() -> None:
        async for _ in watched(full):
            return

    await asyncio.gather(*(one() for _ in range(100)))
    for _ in range(2000):
        if not (await full.client.get_daemon()).watchers:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("watchers are left")
