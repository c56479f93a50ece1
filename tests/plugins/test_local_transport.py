"""The transport `local`: child processes of the daemon and the programs it installs."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.transport import LocalTransport, LocalTransportFactory


@pytest.fixture
def transport(tmp_path: Path) -> LocalTransport:
    return LocalTransportFactory().create(facility_info(), FakeHost(tmp_path))


async def test_a_command_gets_input_and_a_clean_environment(
    transport: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMD_SECRET", "hunter2")
    ran = await transport.run(["sh", "-c", "cat; env; exit 3"], {"MARK": "a b"}, b"in\0")
    assert ran.code == 3
    assert ran.stdout.startswith(b"in\0")
    assert b"MARK=a b\n" in ran.stdout
    assert b"hunter2" not in ran.stdout


async def test_a_command_that_takes_too_long_is_killed(transport: LocalTransport) -> None:
    began = time.monotonic()
    with pytest.raises(DriverError, match=r"did not end within 0\.1 s") as caught:
        await transport.run(["sh", "-c", "sleep 60 & sleep 60"], {}, timeout_s=0.1)
    assert caught.value.error_class is ErrorClass.UNKNOWN
    assert time.monotonic() - began < 30


async def test_a_process_is_spoken_to(transport: LocalTransport) -> None:
    process = await transport.open(["cat"], {})
    await process.write(b"one\ntwo")
    assert await process.readline() == b"one\n"
    assert await process.readexactly(3) == b"two"
    await process.close()
    assert await process.wait() == 0
    assert await process.readexactly(3) == b""
    with pytest.raises(DriverError) as caught:
        await process.write(b"x" * 10_000_000)
    assert caught.value.error_class is ErrorClass.UNKNOWN


async def test_closing_kills_one_that_goes_on_with_all_its_children(
    transport: LocalTransport,
) -> None:
    code = "import os, time\nprint(os.fork(), flush=True)\ntime.sleep(600)\n"
    process = await transport.open([sys.executable, "-c", code], {})
    child = int(await process.readline()) or int(await process.readline())
    await process.close()
    assert await process.wait() == -9
    async with asyncio.timeout(10):
        while _runs(child):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to look does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_cannot_be_started_says_so(transport: LocalTransport) -> None:
    for start in (transport.open(["/no/such"], {}), transport.run(["/no/such"], {})):
        with pytest.raises(
            DriverError, match="/no/such cannot be started at facility HERE"
        ) as caught:
            await start
        assert caught.value.error_class is ErrorClass.TRANSIENT


async def test_a_program_is_installed_once_and_mended(
    transport: LocalTransport, tmp_path: Path
) -> None:
    files = {"a.py": b"a", "b.py": b"b"}
    folders = await asyncio.gather(*(transport.install(files) for _ in range(5)))
    assert len(set(folders)) == 1
    folder = Path(folders[0])
    assert folder.parent == tmp_path / "programs"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    before = os.stat(folder / "b.py").st_ino  # noqa: PTH116
    await transport.install(files)
    assert os.stat(folder / "b.py").st_ino == before  # noqa: PTH116
    (folder / "a.py").unlink()
    assert await transport.install(files) == str(folder)
    assert (folder / "a.py").read_bytes() == b"a"
    assert await transport.install({**files, "b.py": b"c"}) != str(folder)
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
