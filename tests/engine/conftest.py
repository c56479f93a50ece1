from pathlib import Path

import pytest
from engine_house import House

from cmd_daemon.engine import calls, guarding


@pytest.fixture
def house(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house whose drivers have half a second for a call."""
    monkeypatch.setattr(calls, "CALL_S", 0.5)
    monkeypatch.setattr(guarding, "CALL_S", 0.5)
    return House(tmp_path, database_url)
