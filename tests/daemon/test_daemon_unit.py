"""The unit file is one that systemd takes, shuts the service in, and agrees with the daemon's defaults."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmd_daemon.config import DaemonSection

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "cmd-daemon.service"
WORST = 2.0
"""Exposure by `systemd-analyze security`, of 10, that is still called OK."""

analyze = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(analyze is None, reason="systemd-analyze is not installed here")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    program = shutil.copy(sys.executable, tmp_path / "cmd-daemon")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/cmd-daemon/bin/cmd-daemon", str(program)))
    return copy


def asked(*words: str) -> str:
    """What systemd-analyze prints; fails unless it is content."""
    assert analyze is not None
    done = subprocess.run(
        [analyze, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr.strip(), done.stderr
    return done.stdout


@needs_systemd
def test_systemd_takes_the_unit(unit: Path) -> None:
    asked("verify", str(unit))


@needs_systemd
def test_the_service_is_shut_in(unit: Path) -> None:
    told = asked("security", "--offline=true", str(unit))
    found = re.search(r"exposure level for \S+: ([\d.]+)", told)
    assert found, told
    print(f"exposure {found[1]} of 10")
    assert float(found[1]) <= WORST, told


def test_the_unit_agrees_with_the_defaults_of_the_configuration() -> None:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    service, plain = parser["Service"], DaemonSection()
    assert plain.state_dir == Path("/var/lib") / service["StateDirectory"]
    assert plain.socket.parent == Path("/run") / service["RuntimeDirectory"]
    assert service["Type"] == "notify"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["KillMode"] == "process", "jobs of the driver local must outlive the daemon"
