"""Hints from Kafka: Rubin's patched Hermes tells of each transfer that is done in the topic
`<destination RSE>-<scope>`, as JSON {"event_type", "payload", "created_at"}.

Topics are read from their ends, nothing is committed, and no group is joined that another reader could be
in: whoever else reads them, such as Rubin's ingest daemons, is not disturbed.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from cmd_rucio_butler.hints import Hints
from cmd_rucio_butler.settings import KafkaSettings

LOG = logging.getLogger(__name__)
POLL_S = 0.5
QUIET_S = 300.0
"""Seconds between two words about a broker that is not there."""


def topics_of(settings: KafkaSettings, scopes: Iterable[str]) -> list[str]:
    """The topics to be read: those that are named, else one pattern for all RSEs with these scopes."""
    if settings.topics:
        return list(settings.topics)
    return [f"^[A-Za-z0-9_.-]+-({'|'.join(re.escape(each) for each in sorted(scopes))})$"]


class KafkaHints(Hints):
    """Listens to the brokers. Without confluent-kafka there are no hints."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: list[str],
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(loop, wake)
        self._settings = settings
        self._topics = topics
        self._told_at = float("-inf")

    def _listen(self) -> None:
        try:
            import confluent_kafka as kafka  # an extra of its own
        except ImportError:
            LOG.warning("confluent-kafka is not installed: no hints from %s", self._brokers)
            return
        try:
            consumer = kafka.Consumer(self._options(), logger=LOG)
            consumer.subscribe(self._topics)
        except (kafka.KafkaException, OSError, ValueError) as error:
            LOG.warning("no hints from %s: %s", self._brokers, error)
            return
        try:
            while not self._ending.is_set():
                message = consumer.poll(POLL_S)
                if message is None:
                    continue
                if message.error() is not None:
                    self._complain(message.error())
                else:
                    self.take(message.value() or b"")
        finally:
            consumer.close()

    @property
    def _brokers(self) -> str:
        return ",".join(self._settings.brokers)

    def _options(self) -> dict[str, Any]:
        options = dict(self._settings.options)
        if self._settings.password_file is not None:
            options["sasl.password"] = self._settings.password_file.read_text().strip()
        return {
            **options,
            "bootstrap.servers": self._brokers,
            "group.id": f"{self._settings.group}-{uuid.uuid4()}",
            "auto.offset.reset": "latest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "topic.metadata.refresh.interval.ms": 60_000,
            "error_cb": self._complain,
            "log_level": 0,  # it would say the same again with each try
        }

    def _complain(self, error: Any) -> None:
        """Say that something is wrong, not too often: the library itself goes on trying."""
        if time.monotonic() >= self._told_at + QUIET_S:
            self._told_at = time.monotonic()
            LOG.warning("no hints from %s for now: %s", self._brokers, error)
