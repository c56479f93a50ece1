"""Hints: messages of an outside system's own that make the next look at it come sooner.

They may be lost, doubled or late: nothing is taken from them but that something has happened.
"""

import asyncio
import contextlib
import json
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from cmd_rucio_butler.settings import StompSettings

LOG = logging.getLogger(__name__)
AGAIN_S = 30.0
"""Seconds between two tries to reach the broker."""

EVENTS = frozenset(
    {
        "transfer-done",
        "transfer-failed",
        "rule_ok",
        "rule_progress",
        "datasetlock_ok",
        "deletion-done",
    }
)


def of_rules(message: Mapping[str, Any]) -> bool:
    """Whether a message of Rucio's may tell of a change in rules."""
    return str(message.get("event_type", "")).lower() in EVENTS


Heeds = Callable[[Mapping[str, Any]], bool]


class Hints(ABC):
    """Listens to a broker in a thread of its own, and for each message that `heeds` takes calls `wake` in
    the daemon's loop. Without the library, or without the broker, there are no hints."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        heeds: Heeds = of_rules,
        name: str = "rucio",
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._heeds = heeds
        self._ending = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"{name}-hints", daemon=True)
        self.heard = 0

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End it; blocks for a moment."""
        self._ending.set()
        self._lost.set()
        self._thread.join(timeout=5.0)

    def take(self, body: str | bytes) -> None:
        """A message has come; whatever it is, it is at most a hint."""
        try:
            message: Any = json.loads(body)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict) and self._heeds(message):
            self.heard += 1
            with contextlib.suppress(RuntimeError):  # the daemon's loop is closed: it ends
                self._loop.call_soon_threadsafe(self._wake)

    def lose(self) -> None:
        """The broker is gone."""
        self._lost.set()

    @abstractmethod
    def _listen(self) -> None:
        """Listen until `_ending` is set; in the thread."""


class StompHints(Hints):
    """Messages from a broker that speaks STOMP, such as those of Rucio's own Hermes."""

    def __init__(
        self,
        settings: StompSettings,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        heeds: Heeds = of_rules,
        name: str = "rucio",
    ) -> None:
        super().__init__(loop, wake, heeds, name)
        self._settings = settings

    def _listen(self) -> None:
        try:
            import stomp
        except ImportError:
            LOG.warning("stomp.py is not installed: no hints from %s", self._settings.host)
            return
        while not self._ending.is_set():
            self._lost.clear()
            connection = stomp.Connection(
                [(self._settings.host, self._settings.port)], heartbeats=(10_000, 10_000)
            )
            connection.set_listener("hints", _listener(stomp, self))
            try:
                connection.connect(
                    self._settings.username or None, _password(self._settings), wait=True
                )
                connection.subscribe(self._settings.destination, id="cmd", ack="auto")
                self._lost.wait()
            except (stomp.exception.StompException, OSError) as error:
                LOG.warning("no hints from %s: %r", self._settings.host, error)
            finally:
                if connection.is_connected():
                    connection.disconnect()
            if self._ending.wait(AGAIN_S):
                return


def _listener(stomp: Any, hints: StompHints) -> Any:
    class Listener(stomp.ConnectionListener):  # type: ignore[misc]
        """Passes on what comes."""

        def on_message(self, frame: Any) -> None:
            hints.take(str(frame.body))

        def on_disconnected(self) -> None:
            hints.lose()

    return Listener()


def _password(settings: StompSettings) -> str | None:
    return settings.password_file.read_text().strip() if settings.password_file else None
