"""When a facility is fitted out anew: its section has changed, or a file that it names."""

from pathlib import Path

import pytest

from cmd_daemon.config import Config
from cmd_daemon.outfit import files_of


def test_a_credential_that_was_renewed_makes_its_facility_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, token = tmp_path / "key", tmp_path / "token"
    key.write_text("old")
    token.write_text("old")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    section = {
        "drivers": {"script": "ssh"},
        "settings": {
            "ssh": {"key": str(key), "host": "example", "port": 22, "names": ["a\0b", "x" * 5000]},
            "panda": {"refresh": {"token_credential": "token"}, "rules": [str(tmp_path)]},
        },
    }
    facility = Config.model_validate({"facility": {"USDF": section}}).facility["USDF"]
    before = files_of(facility)
    assert set(before) == {str(key), str(token)}
    assert files_of(facility) == before
    for file in (key, token):
        fresh = tmp_path / "fresh"
        fresh.write_text("new")
        fresh.replace(file)
        after = files_of(facility)
        assert after != before
        before = after
