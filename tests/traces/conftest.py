"""A daemon that sends its spans to a receiver of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess
from span_receiver import SpanReceiver


@pytest.fixture
def receiver() -> Iterator[SpanReceiver]:
    """Takes spans."""
    made = SpanReceiver()
    yield made
    made.close()


@pytest.fixture
def daemon(tmp_path: Path, receiver: SpanReceiver) -> Iterator[DaemonProcess]:
    """A daemon with traces; nothing runs yet, and nothing runs afterwards."""
    made = DaemonProcess(tmp_path)
    with made.config.open("a") as file:
        file.write(f'\n[traces]\nendpoint = "{receiver.endpoint}"\n')
    yield made
    made.end()
