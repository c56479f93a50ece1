"""A rolling upgrade: an older daemon and one of this version on the same PostgreSQL database, both ways."""

import sqlite3
from pathlib import Path

import older_daemon
import pytest
from crash_proof import GROUPS, proven
from daemon_process import DaemonProcess, until

from cmd_daemon.store.tables import SCHEMA_VERSION

pytestmark = pytest.mark.timeout(300)

FORMER = 4
SLOW = "sleep 0.3\\necho $CMD_KEY >> $LEDGER\\n"


class Former(DaemonProcess):
    """A daemon of the former version."""

    program = (older_daemon.__file__, str(FORMER))


@pytest.mark.only("postgresql")
def test_a_campaign_outlives_an_upgrade_and_the_way_back(
    tmp_path: Path, database_url: str, postgres_server: object
) -> None:
    url = postgres_server.empty()  # type: ignore[attr-defined]
    old = Former(tmp_path, database=url, name="old")
    new = DaemonProcess(tmp_path, database=url, name="new")
    try:
        old.start()
        old.apply(GROUPS, SLOW)
        until(old.ledger, "a campaign under way")
        new.start(ready=False)
        until(lambda: "standing by" in new.log())
        assert not new.serves(), "it cannot read what it has not migrated yet"
        assert old.stop() == 0
        until(new.serves, f"the new version leads; log:\n{new.log()[-3000:]}")
        old.start()  # as a stand-by of the new one
        until(lambda: "standing by" in old.log())
        assert old.state() in ("RUNNING", "ACCEPTED"), "the former version reads the newer schema"
        until(lambda: new.ledger().total() >= 5 or new.state() == "ACCEPTED")
        new.kill()
        until(lambda: "taking over" in old.log(), f"log:\n{old.log()[-3000:]}")
        until(lambda: old.state() == "ACCEPTED", f"ACCEPTED; log:\n{old.log()[-3000:]}")
        new.start()
        assert old.stop() == 0
        until(lambda: "taking over" in new.log().rpartition("standing by")[2])
        until(lambda: new.state() == "ACCEPTED")
        told = new.command("replay", "crash", code=1)
        assert "follows from no event that was decided" in told or "did not keep" in told
        assert new.stop() == 0
        proven(new)
    finally:
        old.end()
        new.end()


@pytest.mark.only("postgresql")
def test_a_standby_serves_reads_once_another_one_has_migrated(
    tmp_path: Path, database_url: str, postgres_server: object
) -> None:
    url = postgres_server.empty()  # type: ignore[attr-defined]
    old = Former(tmp_path, database=url, name="old")
    pair = [DaemonProcess(tmp_path, database=url, name=name) for name in ("one", "other")]
    try:
        old.start()
        for each in pair:
            each.start(ready=False)
            until(lambda each=each: "standing by" in each.log())  # type: ignore[misc]
            assert not each.serves()
        assert old.stop() == 0
        until(lambda: all(each.serves() for each in pair), "both serve")
        assert sorted("taking over" in each.log() for each in pair) == [False, True]
    finally:
        for each in (old, *pair):
            each.end()


def meta(file: str, statement: str) -> list[tuple[int, ...]]:
    """Ask or change the database behind the daemon's back."""
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.mark.only("sqlite")
def test_a_database_of_a_later_version_is_refused_or_used_as_it_says(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    daemon.start()
    daemon.apply(1)
    until(lambda: daemon.state() == "ACCEPTED")
    assert daemon.stop() == 0
    file = daemon.database.partition("///")[2]
    meta(file, "UPDATE meta SET schema_version = 99")
    daemon.start()
    assert daemon.state() == "ACCEPTED", "this version may still work on it"
    assert daemon.stop() == 0
    meta(file, f"UPDATE meta SET oldest_code = {SCHEMA_VERSION + 1}")
    before = meta(file, "SELECT * FROM meta")
    daemon.start()
    assert daemon.ended() == 1
    assert "made by a later version of the daemon (schema 99" in daemon.log()
    assert "later version" in daemon.command("export", "crash", "--to", str(tmp_path / "x"), code=1)
    assert meta(file, "SELECT * FROM meta") == before, "it has been led"
