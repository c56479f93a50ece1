"""Messages as Rubin's patched Hermes sends them make the driver look at its rules sooner."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from live_setup import LiveWorld
from moving_setup import THREE, books, counts, scenario
from rucio_files import Ear

from cmd_daemon.testing.driver_contract import outcomes, submitted

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kafka_cluster import Cluster

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


class Forwarder(Ear):
    """Does what that Hermes does: each transfer that is done goes to the topic of its RSE and scope."""

    def __init__(self, world: LiveWorld, cluster: Cluster) -> None:
        self._cluster = cluster
        self.sent: list[str] = []
        super().__init__(world.site)

    def on_message(self, frame: Any) -> None:
        said = json.loads(frame.body)
        if said["event_type"] == "transfer-done":
            payload = said["payload"]
            topic = f"{payload['dst-rse']}-{payload['scope']}"
            self.sent.append(topic)
            self._cluster.send(topic, frame.body)


@scenario("kafka")
async def test_a_message_from_kafka_makes_the_next_look_come_sooner(world: LiveWorld) -> None:
    with Cluster() as cluster:
        topic, done = "USDF_DISK-rubin", json.dumps({"event_type": "transfer-done"})
        cluster.send(topic, done)
        kafka = {"brokers": [cluster.address]}
        for facility in world.facilities:
            world.set(facility, poll_s=100.0, kafka=kafka)
        driver = await world.driver()
        (hints,) = driver._shared().hints.values()
        async with asyncio.timeout(60):  # a reader begins at the end, once it has its place there
            while not hints.heard:
                await asyncio.to_thread(cluster.send, topic, done)
                await asyncio.sleep(0.1)
        forwarder = Forwarder(world, cluster)
        await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))
        order = world.order("keep-transfer", datasets=["zp"], at="USDF")
        before = hints.heard
        (ref,) = await submitted(driver, [order])
        outcome = (await outcomes(driver, [ref], 70.0))[order.key]
        assert outcome.ok, outcome.message
        assert set(forwarder.sent) == {topic}
        assert hints.heard > before
        forwarder.close()
        # A broker that is gone changes nothing but how soon a rule is looked at.
        await asyncio.to_thread(cluster.kill)
        for facility in world.facilities:
            world.set(facility, poll_s=0.5, kafka=kafka)
        again = await world.driver()
        *_, taken = await world.move(again, "scatter", THREE, datasets=["zp"], by="visit")
        assert taken.ok, taken.message
        assert counts(books(taken)["FrDF", "USDF", "zp"]) == (4, 4, 4, 4)
