"""Kafka for tests: the mock cluster of the client's own library, in a process of its own.

It speaks Kafka's protocol to anybody, keeps messages in memory, and has neither access lists nor TLS.
As a program it prints the brokers' address and then sends what it reads, lines of {"topic", "body"}.
"""

import contextlib
import json
import subprocess
import sys
from types import TracebackType
from typing import Self


class Cluster:
    """The cluster, as a context; `address` is that of its brokers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def send(self, topic: str, body: str) -> None:
        """Have a message sent, and wait until the cluster has it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"topic": topic, "body": body}) + "\n")
        assert self._process.stdout.readline().strip() == "sent"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.kill()


def main() -> None:
    """Serve until the input ends."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        producer.produce(order["topic"], order["body"].encode(), key=b"message")
        producer.flush()
        print("sent", flush=True)


if __name__ == "__main__":
    main()
