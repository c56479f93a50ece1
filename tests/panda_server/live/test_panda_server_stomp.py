"""The server's messages over a real ActiveMQ: what a subscriber hears is what was recorded."""

import json
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stomp

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "rucio"), str(TESTS / "panda_server")]

from asking import Asking  # noqa: E402
from panda_server import PandaServer  # noqa: E402
from panda_server.messages import TOPIC  # noqa: E402
from recorded_world import life  # noqa: E402
from rucio_site.broker import Broker  # noqa: E402


class Ear(stomp.ConnectionListener):
    """Hears the topic."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def on_message(self, frame: Any) -> None:
        """A message."""
        self.heard.put(json.loads(frame.body))

    def until(self, task: int, status: str) -> list[dict[str, Any]]:
        """Messages up to the one that says so of the task."""
        found = []
        while True:
            body = self.heard.get(timeout=60)
            found.append(body)
            if (body["taskid"], body["status"], body["msg_type"]) == (task, status, "task_status"):
                return found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Debian's ActiveMQ."""
    home = tmp_path_factory.mktemp("broker")
    running = Broker(home, home / "broker.log")
    running.process.start()
    yield running
    running.process.kill()


@pytest.fixture
def ear(broker: Broker) -> Iterator[Ear]:
    """A subscriber."""
    listener = Ear()
    connection = stomp.Connection12([("127.0.0.1", broker.port)])
    connection.set_listener("ear", listener)
    connection.connect(wait=True)
    connection.subscribe(TOPIC, id="ear")
    yield listener
    connection.disconnect()


def test_a_subscriber_hears_a_whole_life(broker: Broker, ear: Ear) -> None:
    with PandaServer() as server:
        server.messages.connect("127.0.0.1", broker.port)
        ask = Asking(server.url, server.production_token())
        server.pilot.fail("bad_*")
        number = ask.submit(life("partial-finished"))
        server.advance(300)
        heard = ear.until(number, "finished")
        assert heard == server.messages.told
        states = [b["status"] for b in heard if b["msg_type"] == "task_status"]
        assert states == ["defined", "running", "prepared", "finished"]


def test_a_subscriber_does_not_hear_what_is_lost(broker: Broker, ear: Ear) -> None:
    with PandaServer() as server:
        server.messages.connect("127.0.0.1", broker.port)
        server.messages.lose = 1
        ask = Asking(server.url, server.production_token())
        number = ask.submit(life("partial-finished"))
        server.advance(300)
        heard = ear.until(number, "done")
        assert [body for body in server.messages.told if body not in heard] == [
            server.messages.told[0]
        ]
