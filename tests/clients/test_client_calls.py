"""Both clients against a served world: errors, retries, deadlines, pages, streams."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from client_setup import until
from cmd_api.v1.group_pb2 import Group
from fake_daemon import FakeDaemon
from fake_world import Fault

from cm_client import (
    AsyncClient,
    Backoff,
    Client,
    CmError,
    DaemonUnavailable,
    DeadlineExceeded,
    EtagMismatch,
    HistoryGone,
    InvalidArgument,
    InvalidCampaignFile,
    NotAccepting,
    NotFound,
    PermissionDenied,
    RequestIdReused,
    StateRefused,
)

FAST = Backoff(tries=5, first=0.01, longest=0.05)
GROUP = "campaigns/DRP1/steps/coadd/groups/0000"

Caller = Callable[..., Coroutine[Any, Any, Any]]


class Both:
    """One of the two clients behind awaitable calls and async iterators."""

    def __init__(self, kind: str, address: str, **options: Any) -> None:
        options = {"backoff": FAST, "actor": "tester", **options}
        self.client: Any = (AsyncClient if kind == "async" else Client)(address, **options)

    @classmethod
    def of(cls, client: Any) -> "Both":
        """Around a client that is there."""
        both = cls.__new__(cls)
        both.client = client
        return both

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.client, AsyncClient):
            return await getattr(self.client, method)(*args, **kwargs)
        return await asyncio.to_thread(getattr(self.client, method), *args, **kwargs)

    async def iterate(self, method: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        iterator = getattr(self.client, method)(*args, **kwargs)
        if isinstance(self.client, AsyncClient):
            async for item in iterator:
                yield item
            return
        end = object()
        try:
            while (item := await asyncio.to_thread(next, iterator, end)) is not end:
                yield item
        finally:
            iterator.close()

    async def close(self) -> None:
        if isinstance(self.client, AsyncClient):
            await self.client.close()
        else:
            self.client.close()


@pytest.fixture(params=["async", "blocking"])
async def both(request: pytest.FixtureRequest, fake: FakeDaemon) -> AsyncIterator[Both]:
    client = Both(request.param, fake.address)
    yield client
    await client.close()


async def test_a_call_carries_the_actor_and_brings_the_message(
    both: Both, fake: FakeDaemon
) -> None:
    campaign = await both.call("get_campaign", "campaigns/DRP1")
    assert campaign.owner == "pilot1"
    assert fake.world.calls[-1][1]["x-cmd-actor"] == "tester"


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("NOT_FOUND", "NOT_FOUND", NotFound),
        ("INVALID_ARGUMENT", "INVALID_NAME", InvalidArgument),
        ("INVALID_ARGUMENT", "", InvalidArgument),
        ("FAILED_PRECONDITION", "STATE_REFUSED", StateRefused),
        ("ABORTED", "ETAG_MISMATCH", EtagMismatch),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED", RequestIdReused),
        ("PERMISSION_DENIED", "PERMISSION_DENIED", PermissionDenied),
        ("INTERNAL", "INTERNAL", CmError),
        ("INTERNAL", "A_REASON_OF_TOMORROW", CmError),
    ],
)
async def test_each_reason_has_its_exception(
    both: Both, fake: FakeDaemon, code: str, reason: str, kind: type[CmError]
) -> None:
    fault = Fault(grpc.StatusCode[code], reason, "told so", metadata=(("state", "HELD"),))
    fake.world.faults["GetGroup"].append(fault)
    with pytest.raises(CmError) as caught:
        await both.call("get_group", GROUP)
    assert type(caught.value).__mro__[0] is kind or isinstance(caught.value, kind)
    assert (caught.value.message, caught.value.reason) == ("told so", reason)
    assert caught.value.code is grpc.StatusCode[code]
    assert caught.value.metadata == ({"state": "HELD"} if reason else {})
    assert fake.count_calls("GetGroup") == 1


async def test_a_bad_file_brings_all_its_problems(both: Both) -> None:
    with pytest.raises(InvalidCampaignFile) as caught:
        await both.call("plan_campaign", "broken", file="a.yaml")
    first, second = caught.value.problems
    assert (first.file, first.line, first.column, first.field) == ("a.yaml", 3, 5, "steps.coadd")
    assert "\x1b" in second.message


async def test_a_read_is_tried_again(both: Both, fake: FakeDaemon) -> None:
    fake.world.faults["GetGroup"].extend([Fault(grpc.StatusCode.UNAVAILABLE)] * 3)
    assert (await both.call("get_group", GROUP)).name == GROUP
    assert fake.count_calls("GetGroup") == 4


async def test_tries_come_to_an_end(both: Both, fake: FakeDaemon) -> None:
    fake.world.faults["GetGroup"].extend([Fault(grpc.StatusCode.UNAVAILABLE)] * 9)
    with pytest.raises(DaemonUnavailable):
        await both.call("get_group", GROUP)
    assert fake.count_calls("GetGroup") == 5


async def test_a_change_whose_answer_was_lost_is_made_once(both: Both, fake: FakeDaemon) -> None:
    fake.world.faults["RetryGroup"].append(Fault(grpc.StatusCode.UNAVAILABLE, after=True))
    await both.call("retry_group", GROUP, reason="again")
    ids = {request.request_id for method, _, request in fake.world.calls if method == "RetryGroup"}
    assert fake.count_calls("RetryGroup") == 2
    assert len(ids) == 1
    assert len([event for event in fake.world.events if event.reason == "again"]) == 1


async def test_each_change_has_a_request_id_of_its_own(both: Both, fake: FakeDaemon) -> None:
    for _ in range(2):
        await both.call("retry_group", GROUP)
    ids = {request.request_id for method, _, request in fake.world.calls if method == "RetryGroup"}
    assert len(ids) == 2


async def test_a_change_without_request_id_is_never_repeated(both: Both, fake: FakeDaemon) -> None:
    fake.world.faults["RetryGroup"].append(Fault(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(DaemonUnavailable):
        await both.call("retry_group", GROUP, request_id="")
    assert fake.count_calls("RetryGroup") == 1


async def test_a_daemon_that_takes_no_changes_is_told_apart(both: Both, fake: FakeDaemon) -> None:
    fault = Fault(grpc.StatusCode.UNAVAILABLE, "NOT_ACCEPTING", "disk full")
    fake.world.faults["RetryGroup"].extend([fault] * 5)
    with pytest.raises(NotAccepting, match="disk full"):
        await both.call("retry_group", GROUP)


async def test_a_deadline_ends_a_call_and_is_not_tried_again(both: Both, fake: FakeDaemon) -> None:
    fake.world.faults["GetGroup"].append(Fault(grpc.StatusCode.OK, hang=True))
    impatient = Both.of(both.client.within(0.2))
    with pytest.raises(DeadlineExceeded, match="in time"):
        await impatient.call("get_group", GROUP)
    assert fake.count_calls("GetGroup") == 1
    assert both.client.deadline == 10.0


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_no_daemon_is_said_soon(kind: str, tmp_path: Path) -> None:
    client = Both(kind, f"unix:{tmp_path}/none.sock")
    with pytest.raises(DaemonUnavailable, match=r"No daemon answers at unix:.*none\.sock"):
        await client.call("get_daemon")
    with pytest.raises(DaemonUnavailable):
        async for _ in client.iterate("watch_events"):
            pass
    await client.close()


async def test_a_restarted_daemon_is_found_again(both: Both, fake: FakeDaemon) -> None:
    await both.call("get_daemon")
    fake.stop()
    with pytest.raises(DaemonUnavailable):
        await both.call("get_daemon")
    fake.start()
    patient = Backoff(tries=60, first=0.05, longest=0.1)
    both.client.backoff = patient
    assert (await both.call("get_daemon")).version == "1.0"


async def test_pages_are_turned_as_needed(both: Both, fake: FakeDaemon) -> None:
    fake.world.add_campaign("BIG", groups=25)
    names = [g.name async for g in both.iterate("groups", "campaigns/BIG", page_size=10)]
    assert len(set(names)) == len(names) == 25
    assert fake.count_calls("ListGroups") == 3
    assert names == sorted(names)


async def test_pages_keep_their_filter(both: Both, fake: FakeDaemon) -> None:
    fake.move(GROUP, "HELD")
    held = [Group.STATE_HELD]
    found = [g.name async for g in both.iterate("groups", "campaigns/DRP1", states=held)]
    assert found == [GROUP]
    assert not [g async for g in both.iterate("groups", "campaigns/EMPTY")]


async def watched(both: Both, seen: list[int], **options: Any) -> None:
    """Collect the numbers of events until cancelled."""
    async for batch in both.iterate("watch_events", "campaigns/DRP1", idle=0.05, **options):
        seen.extend(event.seq for event in batch.events)
        if len(seen) >= 6:
            return


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("UNAVAILABLE", ""),
        ("RESOURCE_EXHAUSTED", "WATCHER_TOO_SLOW"),
        ("CANCELLED", ""),
        (None, "restart"),
    ],
)
async def test_a_watch_goes_on_without_gap_or_repeat(
    both: Both, fake: FakeDaemon, code: str | None, reason: str
) -> None:
    seen: list[int] = []
    lost: list[CmError] = []
    task = asyncio.create_task(watched(both, seen, on_lost=lambda error, wait: lost.append(error)))
    await until(lambda: fake.world.watchers)
    for _ in range(3):
        await asyncio.to_thread(fake.move, GROUP, "RUNNING")
    await until(lambda: len(seen) == 3)
    if code is None:
        await asyncio.to_thread(fake.stop)
        await asyncio.to_thread(fake.start)
    else:
        await asyncio.to_thread(fake.end_watches, grpc.StatusCode[code], reason)
    for _ in range(3):
        await asyncio.to_thread(fake.move, GROUP, "RUNNING")
    await asyncio.wait_for(task, 20)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert lost


async def test_a_watch_from_the_beginning(both: Both, fake: FakeDaemon) -> None:
    for _ in range(6):
        await asyncio.to_thread(fake.move, GROUP, "RUNNING")
    seen: list[int] = []
    await asyncio.wait_for(watched(both, seen, resume_token="0"), 20)
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_token_that_is_too_old_is_an_error(both: Both, fake: FakeDaemon) -> None:
    fake.world.oldest = 5
    with pytest.raises(HistoryGone):
        async for _ in both.iterate("watch_events", resume_token="1"):
            pass


async def test_a_watch_does_not_outlast_a_refusal(both: Both, fake: FakeDaemon) -> None:
    fault = Fault(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    fake.world.faults["WatchEvents"].append(fault)
    with pytest.raises(PermissionDenied):
        async for _ in both.iterate("watch_events"):
            pass
    assert fake.count_calls("WatchEvents") == 1


async def test_a_watch_that_was_left_ends_its_call(both: Both, fake: FakeDaemon) -> None:
    iterator = both.iterate("watch_events", idle=0.05)
    async for _ in iterator:
        if fake.world.watchers:
            break
    await iterator.aclose()  # type: ignore[attr-defined]
    await asyncio.to_thread(fake.move, GROUP, "RUNNING")
    await until(lambda: not fake.world.watchers)


async def test_a_silent_daemon_is_taken_as_lost(
    both: Both, fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cm_client.streams import EventStream

    monkeypatch.setattr(EventStream.__init__, "__defaults__", (None, 0.2))
    lost: list[str] = []

    async def run() -> None:
        watch = both.iterate("watch_events", on_lost=lambda error, wait: lost.append(str(error)))
        async for _ in watch:
            if lost:
                return

    await asyncio.wait_for(run(), 20)
    assert "silent" in lost[0]
    assert fake.count_calls("WatchEvents") >= 2


async def test_a_followed_log_goes_on_at_the_next_byte(both: Both, fake: FakeDaemon) -> None:
    text = b""

    async def read() -> None:
        nonlocal text
        async for message in both.iterate("read_log", f"{GROUP}/jobs/process", follow=True):
            text += message.data

    task = asyncio.create_task(read())
    await until(lambda: text == fake.world.log)
    fake.world.log += b"and more\n"
    await asyncio.to_thread(fake.end_watches, grpc.StatusCode.UNAVAILABLE)
    await until(lambda: text == fake.world.log)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    again = [request for method, _, request in fake.world.calls if method == "ReadLog"][-1]
    assert (again.offset, again.attempt, again.part) == (len(fake.world.log) - 9, 1, "log")
