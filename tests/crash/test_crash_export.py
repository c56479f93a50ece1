"""A campaign whose daemon is killed: exported while one works on it, replayed, and removed in chunks."""

from pathlib import Path

import pytest
from crash_proof import GROUPS, proven
from daemon_process import DaemonProcess, until

from cm_client import StateRefused

SLOW = "sleep 0.2\\necho $CMD_KEY >> $LEDGER\\n"


def test_a_killed_daemons_history_is_whole_and_is_decided_again(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    daemon.start()
    daemon.apply(GROUPS, SLOW)
    for killed in range(2):
        until(lambda: daemon.ledger().total() > killed or daemon.state() == "ACCEPTED")  # noqa: B023
        half = tmp_path / f"half{killed}.gz"
        assert "events" in daemon.command("export", "crash", "--to", str(half))
        assert "byte for byte" in daemon.command("replay", str(half))
        daemon.kill()
        daemon.start()
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    assert "byte for byte" in daemon.command("replay", "crash")
    whole = tmp_path / "whole.gz"
    daemon.command("export", "crash", "--to", str(whole))
    assert "another daemon" in daemon.command("import", str(whole), code=1)
    assert "there already" in daemon.command("export", "crash", "--to", str(whole), code=1)
    assert daemon.stop() == 0
    proven(daemon)
    assert "in the database already" in daemon.command("import", str(whole), code=1)
    elsewhere = DaemonProcess(tmp_path, name="elsewhere")
    elsewhere.config.write_text(
        elsewhere.config.read_text().replace(elsewhere.database, f"{tmp_path}/elsewhere.db")
    )
    assert "attempts outside" in elsewhere.command("import", str(half), code=1)
    assert "ACCEPTED" in elsewhere.command("import", str(whole))
    assert "byte for byte" in elsewhere.command("replay", "crash")
    elsewhere.start()
    try:
        assert elsewhere.state() == "ACCEPTED"
        with elsewhere.client() as client:
            assert client.get_campaign("campaigns/crash").name == "campaigns/crash"
    finally:
        elsewhere.end()
    proven(daemon)


def test_a_removal_that_was_killed_goes_on_where_it_was(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    daemon.start()
    daemon.apply(GROUPS)
    until(lambda: daemon.state() == "ACCEPTED", f"ACCEPTED; log:\n{daemon.log()[-3000:]}")
    with daemon.client() as client:
        client.archive_campaign("campaigns/crash")
    assert daemon.stop() == 0
    folder = tmp_path / "archive"
    daemon.add(f'[retention]\nafter_days = 0\ndirectory = "{folder}"\n')
    assert "archived campaigns: to" in daemon.command("check")
    for _ in range(2):
        daemon.start("after-chunk", ready=False)
        assert daemon.ended() == -9
        (file,) = folder.iterdir()
        assert "byte for byte" in daemon.command("replay", str(file))
    daemon.start()
    until(lambda: "an archived campaign was removed" in daemon.log())
    assert daemon.state() == "ARCHIVED"
    with daemon.client() as client:
        assert [str(file) in each.reason for each in client.events("campaigns/crash")] == [True] * 3
    with pytest.raises(StateRefused, match="ARCHIVED"):
        daemon.apply(1)  # attempts of that name may be anywhere
    assert daemon.stop() == 0
    assert list(folder.iterdir()) == [file]
    assert "in the database already" in daemon.command("import", str(file), code=1)
