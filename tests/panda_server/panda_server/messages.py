"""What the server tells the broker: over STOMP, with loss, doubles and disorder on command."""

import json
import queue
import threading
from collections import deque
from typing import Any

import stomp

TOPIC = "/topic/panda_idds"


class Messages:
    """The messages of a server, in a list, and sent to a broker where there is one.

    `lose` and `double` count down; `delay` keeps so many back and sends them after later ones."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.lose = 0
        self.double = 0
        self.delay = 0
        self._held: deque[dict[str, Any]] = deque()
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._topic = TOPIC

    def connect(self, host: str, port: int, topic: str = TOPIC) -> None:
        """Publish to a broker from now on."""
        self._connection = stomp.Connection12([(host, port)])
        self._connection.connect(wait=True)
        self._topic = topic
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what waits, and leave the broker."""
        if self._thread:
            self._queue.put(None)
            self._thread.join(30)
            self._connection.disconnect()
            self._thread = None

    def __call__(self, body: dict[str, Any]) -> None:
        """A message is told."""
        self.told.append(body)
        if self.lose:
            self.lose -= 1
            return
        if self.delay:
            self.delay -= 1
            self._held.append(body)
            return
        self._queue.put(body)
        if self.double:
            self.double -= 1
            self._queue.put(body)
        while self._held:
            self._queue.put(self._held.pop())

    def _send(self) -> None:
        while (body := self._queue.get()) is not None:
            self._connection.send(self._topic, json.dumps(body), content_type="application/json")
