from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_process import DaemonProcess


@pytest.fixture
def daemon(tmp_path: Path, database_url: str) -> Iterator[DaemonProcess]:
    """A daemon's home; nothing runs yet, and nothing runs afterwards."""
    made = DaemonProcess(tmp_path, database=database_url)
    yield made
    made.end()
