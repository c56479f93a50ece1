"""Hints from Kafka, over the mock cluster of the client's own library."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka_cluster import Cluster
from test_rucio_contract import section

from cmd_daemon.hooks import DriverError
from cmd_daemon.testing import FakeHost, facility_info
from cmd_rucio_butler.kafka import POLL_S, KafkaHints, topics_of
from cmd_rucio_butler.settings import KafkaSettings, rucio_settings
from cmd_rucio_butler.sharing import Servers

TOPIC = "USDF_BUTLER_DISK-dp2"
DONE = json.dumps(
    {
        "event_type": "transfer-done",
        "payload": {
            "scope": "dp2",
            "name": "a/b.fits",
            "dst-rse": "USDF_BUTLER_DISK",
            "rubin_butler": "data_product",
            "rubin_sidecar": "{}",
        },
        "created_at": "2026-11-29 10:00:00",
    }
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster that has the topic, with a message that nobody waits for any more."""
    with Cluster() as made:
        made.send(TOPIC, DONE)
        yield made


class Woken:
    """Hears the hints."""

    def __init__(self) -> None:
        self.times = 0
        self.at_all = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.at_all.set()


@asynccontextmanager
async def listening(
    address: str, woken: Woken, *topics: str, scopes: tuple[str, ...] = ("dp2",)
) -> AsyncIterator[KafkaHints]:
    settings = KafkaSettings(brokers=[address], topics=list(topics))
    loop = asyncio.get_running_loop()
    hints = KafkaHints(settings, topics_of(settings, scopes), loop, woken)
    hints.start()
    yield hints
    await asyncio.to_thread(hints.stop)


async def heard(cluster: Cluster, woken: Woken, topic: str = TOPIC) -> int:
    """Send messages until one is heard: a reader begins at the end, once it has its place there. How
    many were sent."""
    sent = 0
    woken.at_all.clear()
    async with asyncio.timeout(60):
        while not woken.at_all.is_set():
            await asyncio.to_thread(cluster.send, topic, DONE)
            sent += 1
            await asyncio.sleep(0.1)
    return sent


async def test_a_transfer_that_is_done_wakes(cluster: Cluster) -> None:
    woken = Woken()
    async with listening(cluster.address, woken) as hints:
        sent = await heard(cluster, woken)
        assert hints.heard <= sent, "what was there before is of no interest"


async def test_only_what_is_in_our_scopes_is_heard(cluster: Cluster) -> None:
    strange = ("USDF_BUTLER_DISK-other", "USDF_BUTLER_DISK-dp22")
    for topic in (*strange, "FRDF_BUTLER_DISK-raw"):
        cluster.send(topic, DONE)
    mine, theirs = Woken(), Woken()
    async with (
        listening(cluster.address, mine, scopes=("dp2", "raw")) as hints,
        listening(cluster.address, theirs, *strange),
    ):
        sent = await heard(cluster, mine)
        await heard(cluster, theirs, strange[0])
        await heard(cluster, theirs, strange[1])
        sent += await heard(cluster, mine)
        sent += await heard(cluster, mine, "FRDF_BUTLER_DISK-raw")
        assert hints.heard <= sent


async def test_garbage_and_duplicates_do_nothing_more(cluster: Cluster) -> None:
    woken = Woken()
    async with listening(cluster.address, woken) as hints:
        await heard(cluster, woken)
        for body in ("", "no JSON", "[]", "null", '{"event_type": 7}', "[" * 100_000, '"x"'):
            await asyncio.to_thread(cluster.send, TOPIC, body)
        await heard(cluster, woken)
        assert hints._thread.is_alive()


@pytest.mark.parametrize("ever", [True, False])
async def test_without_a_broker_there_is_a_line_in_the_log_and_nothing_else(
    cluster: Cluster, ever: bool, caplog: pytest.LogCaptureFixture
) -> None:
    woken = Woken()
    if not ever:
        cluster.kill()
    with caplog.at_level(logging.WARNING, logger="cmd_rucio_butler.kafka"):
        async with listening(cluster.address, woken) as hints:
            if ever:
                await heard(cluster, woken)
                cluster.kill()
            await complained(caplog)
            await asyncio.sleep(3 * POLL_S)  # it goes on trying, and says no more
            assert hints._thread.is_alive()
    (told,) = [each.getMessage() for each in caplog.records]
    assert cluster.address in told


async def complained(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until there is a line about the brokers in the log."""
    async with asyncio.timeout(60):
        while True:
            if complaints(caplog):
                return
            await asyncio.sleep(0.1)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "no hints from" in each.getMessage()]


async def test_options_the_library_does_not_know_are_told(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    settings = KafkaSettings(brokers=[cluster.address], options={"security.protocl": "SSL"})
    hints = KafkaHints(settings, [TOPIC], asyncio.get_running_loop(), Woken())
    hints.start()
    await asyncio.to_thread(hints._thread.join, 30)
    assert "security.protocl" in caplog.text
    assert not hints._thread.is_alive()


def test_topics_are_named_or_follow_from_the_scopes() -> None:
    named = KafkaSettings(brokers=["b:9092"], topics=["X-dp2"])
    assert topics_of(named, ["dp2"]) == ["X-dp2"]
    (pattern,) = topics_of(KafkaSettings(brokers=["b:9092"]), ["raw", "dp2"])
    assert pattern == "^[A-Za-z0-9_.-]+-(dp2|raw)$"


async def test_nobody_listens_unless_told_to_and_then_once_for_all(tmp_path: Path) -> None:
    def settings(**changes: Any) -> Any:
        return rucio_settings(facility_info(settings={"rucio": section(tmp_path, **changes)}))

    servers = Servers.of(FakeHost(tmp_path))
    shared = servers.at(settings(), self := object())
    shared.listen(settings())
    assert shared.hints == {}
    kafka = {"brokers": ["127.0.0.1:9"]}
    for rse in ("HERE_DISK", "THERE_DISK"):
        shared.listen(settings(rse=rse, kafka=kafka))
    assert len(shared.hints) == 1
    await servers.let_go(self)
    with pytest.raises(DriverError, match="brokers"):
        settings(kafka={"brokers": []})
