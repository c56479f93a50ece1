"""A backup of a daemon at work, put back after its database is lost: nothing is done twice."""

from pathlib import Path

import pytest
from crash_proof import GROUPS, proven
from daemon_process import DaemonProcess, until

SLOW = "sleep 0.3\\necho $CMD_KEY >> $LEDGER\\n"

pytestmark = pytest.mark.only("sqlite")


def test_a_backup_under_way_is_put_back_and_the_campaign_goes_on(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    daemon.start()
    daemon.apply(GROUPS, SLOW)
    until(daemon.ledger)
    saved = tmp_path / "saved.db"
    assert "bytes" in daemon.command("backup", str(saved))
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "there already" in daemon.command("backup", str(saved), code=1)
    before = daemon.ledger().total()
    until(lambda: daemon.ledger().total() > before or daemon.state() == "ACCEPTED")
    assert "works on the database" in daemon.command("restore", str(saved), code=1)
    daemon.kill()
    database = Path(daemon.database.partition("///")[2])
    database.write_bytes(b"lost")
    assert "what was there is" in daemon.command("restore", str(saved))
    daemon.start()
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert daemon.stop() == 0
    proven(daemon)


def test_what_is_no_backup_is_refused_and_changes_nothing(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    daemon.start()
    assert daemon.stop() == 0
    database = Path(daemon.database.partition("///")[2])
    whole = database.read_bytes()
    for content in (b"", b"no database at all" * 100, whole[: len(whole) // 2]):
        (tmp_path / "bad").write_bytes(content)
        daemon.command("restore", str(tmp_path / "bad"), code=1)
    assert "no backup" in daemon.command("restore", str(tmp_path / "nowhere"), code=1)
    assert database.read_bytes() == whole
    assert not list(tmp_path.glob("cmd.db.*[0-9]"))
