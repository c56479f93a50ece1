"""SQLite passes the contract of stores, and the faults that only a file can have."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store import AlreadyInUse, Store, StoreBusy, StoreFenced, StoreFull, sqlite
from cmd_daemon.store.errors import (
    BadUrl,
    NetworkFileSystem,
    NotADatabase,
    SchemaTooNew,
    SchemaTooOld,
    SQLiteTooOld,
    StoreClosed,
)
from cmd_daemon.store.location import file_system_of, is_network, refuse_network
from cmd_daemon.testing.store_contract import NOW, StoreContract, campaign, made, record


def url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


async def opened(path: Path) -> Store:
    return await Store.open(url_of(path), clock=lambda: NOW)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


class TestSQLiteStore(StoreContract):
    async def open(self, tmp_path: Path) -> Store:
        return await opened(tmp_path / "store.db")


@pytest.fixture
async def store(tmp_path: Path):
    store = await opened(tmp_path / "store.db")
    yield store
    await store.close()


async def test_a_full_database_refuses_and_goes_on_when_there_is_room(store: Store):
    # max_page_count makes SQLite answer SQLITE_FULL just as a full disk does.
    writer = store._dialect._writer
    await store.commit(made(campaign()))
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = Batch(records=[record(n, reason="x" * 2000) for n in range(1, 200)])
    for _ in range(3):
        with pytest.raises(StoreFull, match="disk"):
            await store.commit(big)
        assert await store.last_seq() == 0
    writer.execute("PRAGMA max_page_count = 1000000")
    await store.commit(big)
    assert await store.last_seq() == 199


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
async def test_a_full_disk_refuses_and_goes_on_when_there_is_room(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if (
        await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    ).returncode:
        pytest.skip("mounting is not allowed here; the test with max_page_count stands for it")
    try:
        store = await opened(disk / "store.db")
        await store.commit(Batch(records=[record(1)]))
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        big = Batch(records=[record(n, reason="x" * 2000) for n in range(2, 200)])
        for _ in range(2):
            with pytest.raises(StoreFull):
                await store.commit(big)
            assert await store.last_seq() == 1
        assert "left on the disk" in (await store.check()).problem
        filler.unlink()
        await store.commit(big)
        await store.close()
        store = await opened(disk / "store.db")
        assert len(await store.events()) == 199
        await store.close()
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(disk)], check=True)


async def test_a_locked_database_refuses_and_goes_on_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    store = await opened(tmp_path / "store.db")
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    batch = Batch(records=[record(1)])
    with pytest.raises(StoreBusy, match="locked"):
        await store.commit(batch)
    assert await store.last_seq() == 0  # readers go on meanwhile
    other.execute("ROLLBACK")
    other.close()
    await store.commit(batch)
    assert await store.last_seq() == 1
    await store.close()


async def test_readers_cannot_write(store: Store):
    async with store._readers.connect() as reader:
        with pytest.raises(Exception, match="readonly"):
            await reader.exec_driver_sql("DELETE FROM events")


async def test_the_writer_is_durable(store: Store):
    writer = store._dialect._writer
    found = [
        writer.execute(f"PRAGMA {p}").fetchone()[0]
        for p in ("journal_mode", "synchronous", "foreign_keys")
    ]
    assert found == ["wal", 2, 1]


async def test_a_daemon_that_was_taken_over_writes_no_more(store: Store, tmp_path: Path):
    other = sqlite3.connect(tmp_path / "store.db")
    other.execute("UPDATE meta SET epoch = epoch + 1")
    other.commit()
    other.close()
    with pytest.raises(StoreFenced):
        await store.commit(Batch(records=[record(1)]))
    assert await store.last_seq() == 0


async def test_a_closed_store_says_so(tmp_path: Path):
    store = await opened(tmp_path / "store.db")
    await store.close()
    with pytest.raises(StoreClosed):
        await store.commit(Batch(records=[record(1)]))


_SECOND = """
import asyncio, sys
from cmd_daemon.store import AlreadyInUse, Store
async def main():
    try:
        await Store.open(sys.argv[1], clock=lambda: 1)
    except AlreadyInUse as error:
        print(error)
        sys.exit(7)
asyncio.run(main())
"""


async def test_a_second_process_is_refused(store: Store, tmp_path: Path):
    with pytest.raises(AlreadyInUse):
        await opened(tmp_path / "store.db")
    command = [sys.executable, "-c", _SECOND, url_of(tmp_path / "store.db")]
    second = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    assert second.returncode == 7, second.stderr
    assert f"process {os.getpid()}" in second.stdout
    await store.commit(Batch(records=[record(1)]))


_WRITER = """
import asyncio, sys
from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store import Store
from cmd_daemon.testing.store_contract import effect, record
async def main():
    store = await Store.open(sys.argv[1], clock=lambda: 1)
    number = (await store.last_seq()) // 50
    while True:
        first = number * 50 + 1
        await store.commit(Batch(
            records=[record(n) for n in range(first, first + 50)],
            effects={f"e{number}": effect(f"e{number}")},
        ))
        number += 1
        print(number, flush=True)
asyncio.run(main())
"""


def write_and_kill(path: Path, after: int) -> int:
    """Let a process commit, kill it after it told of so many batches; the last batch it told of."""
    command = [sys.executable, "-c", _WRITER, url_of(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().splitlines(keepends=True)
    return max(int(line) for line in told if line.endswith("\n"))


async def test_a_killed_process_leaves_a_prefix_of_its_batches(tmp_path: Path):
    path = tmp_path / "store.db"
    for batches_before_kill in (1, 7, 20, 33):
        told = await asyncio.to_thread(write_and_kill, path, batches_before_kill)
        store = await opened(path)
        seqs = [e.seq for e in await store.events(limit=10_000)]
        batches = len(seqs) // 50
        assert seqs == list(range(1, batches * 50 + 1))  # whole batches, none missing
        assert batches >= told  # and everything that was answered
        assert set((await store.load_open()).effects) == {f"e{n}" for n in range(batches)}
        assert (await store.check(deep=True)).problem == ""
        await store.close()


async def test_a_newer_database_is_refused(tmp_path: Path):
    await (await opened(tmp_path / "store.db")).close()
    other = sqlite3.connect(tmp_path / "store.db")
    other.execute("UPDATE meta SET schema_version = 99, oldest_code = 1")
    other.commit()
    await (await opened(tmp_path / "store.db")).close()  # newer, but says this code still fits
    other.execute("UPDATE meta SET oldest_code = 99")
    other.commit()
    with pytest.raises(SchemaTooNew, match="99"):
        await opened(tmp_path / "store.db")
    other.execute("UPDATE meta SET oldest_code = 1")  # and a refused one holds no lock
    other.commit()
    other.close()
    await (await opened(tmp_path / "store.db")).close()


async def test_without_leave_nothing_is_migrated(tmp_path: Path):
    with pytest.raises(SchemaTooOld):
        await Store.open(url_of(tmp_path / "store.db"), clock=lambda: NOW, migrate=False)


async def test_files_that_are_no_database_of_ours(tmp_path: Path):
    (tmp_path / "text.db").write_text("Dear reader, this is a letter. " * 100)
    with pytest.raises(NotADatabase):
        await opened(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE recipes (id INTEGER)")
    other.close()
    with pytest.raises(BadUrl, match="recipes"):
        await opened(tmp_path / "other.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "mysql://x/y",
        "sqlite+aiosqlite:///x.db?mode=ro",
        "sqlite+aiosqlite:////no/such/directory/x.db",
    ],
)
async def test_urls_that_cannot_be(url: str):
    with pytest.raises(BadUrl):
        await Store.open(url, clock=lambda: NOW)


def test_an_old_sqlite_is_refused():
    with pytest.raises(SQLiteTooOld, match=r"3\.34\.1"):
        sqlite.check_version((3, 34, 1))
    sqlite.check_version((3, 35, 0))


MOUNTS = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2
31 30 8:1 / /home/local\040disk rw - xfs /dev/sda1 rw
32 22 0:30 / /sdf rw master:3 propagate_from:1 - fuse.sshfs me@host:/ rw
33 22 0:31 / /lus rw - lustre 10.0.0.1@tcp:/fs rw
34 22 0:32 / /twice rw - nfs server:/x rw
35 22 0:33 / /twice rw - tmpfs tmpfs rw
36 22 0:34 / /homestead rw - btrfs /dev/sdb rw
37 22 0:35 / /win rw - smb3 //server/share rw
38 22 0:36 / /fuse rw - fuse.fuse-overlayfs fuse-overlayfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/lib/x.db", "ext4", False),
        ("/home/me/x.db", "nfs4", True),
        ("/home/local disk/x.db", "xfs", False),
        ("/sdf/data/x.db", "fuse.sshfs", True),
        ("/lus/x.db", "lustre", True),
        ("/twice/x.db", "tmpfs", False),
        ("/homestead/x.db", "btrfs", False),
        ("/win/x.db", "smb3", True),
        ("/fuse/x.db", "fuse.fuse-overlayfs", False),
    ],
)
def test_network_file_systems_are_known(path: str, kind: str, network: bool, tmp_path: Path):
    assert file_system_of(Path(path), MOUNTS) == kind
    assert is_network(kind) is network
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    if network:
        with pytest.raises(NetworkFileSystem, match=kind):
            refuse_network(Path(path), mounts)
    else:
        refuse_network(Path(path), mounts)


@pytest.mark.parametrize(
    "kind", ["cifs", "ceph", "gpfs", "beegfs", "fuse.glusterfs", "fuse.s3fs", "afs", "9p", "nfs"]
)
def test_other_network_file_systems_are_known(kind: str):
    assert is_network(kind)
