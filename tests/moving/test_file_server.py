"""The server of a facility's files and its client, over the transport of this machine."""

import ast
import asyncio
import errno
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cmd_daemon.hooks import DriverError, ErrorClass, FarProcess
from cmd_daemon.testing import FakeHost, facility_info
from cmd_local.moving.carrier import Corrupted
from cmd_local.moving.file_client import FileServers, Unreachable
from cmd_local.moving.routing import RoutingCarrier
from cmd_local.programs import STACK
from cmd_local.transport import LocalTransport


class WatchedTransport(LocalTransport):
    """Keeps the processes it started; may refuse to start any."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("FAR", state_dir)
        self.processes: list[FarProcess] = []
        self.refusal: DriverError | None = None

    async def open(self, argv, env):  # type: ignore[no-untyped-def]
        if self.refusal is not None:
            raise self.refusal
        process = await super().open(argv, env)
        self.processes.append(process)
        return process

    def signal(self, number: int) -> None:
        """Send the last server a signal."""
        os.kill(self.processes[-1].pid, number)  # type: ignore[attr-defined]


@pytest.fixture
def transport(tmp_path: Path) -> WatchedTransport:
    return WatchedTransport(tmp_path / "state")


@pytest.fixture
def host(tmp_path: Path, transport: WatchedTransport) -> FakeHost:
    """A daemon with a facility that is another machine, as far as the mover knows."""
    far = facility_info("FAR", transport="elsewhere", stacks={"w_1": sys.executable})
    facilities = {"FAR": far, "HERE": facility_info("HERE")}
    return FakeHost(tmp_path / "state", facilities, transports={"FAR": transport})


@pytest_asyncio.fixture
async def carrier(host: FakeHost) -> AsyncIterator[RoutingCarrier]:
    """A carrier that is patient for a while."""
    made = RoutingCarrier(host, 10.0)
    yield made
    await made.release()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("facility", ["HERE", "FAR"])
async def test_a_file_comes_and_goes(
    carrier: RoutingCarrier, tmp_path: Path, facility: str
) -> None:
    data, path = os.urandom(300_000), str(tmp_path / "deep" / "er" / "file ü")
    part = f"{path}.part"
    assert await carrier.size(facility, part) is None
    for offset in (0, 100_000, 200_000):
        await carrier.write(facility, part, offset, data[offset : offset + 100_000])
    assert await carrier.size(facility, part) == len(data)
    await carrier.finish(facility, part, path, len(data), digest(data))
    assert Path(path).read_bytes() == data
    assert not Path(part).exists()
    assert await carrier.read(facility, path, 250_000, 10**6) == data[250_000:]
    assert await carrier.read(facility, path, 10**6, 1) == b""
    assert await carrier.sha256(facility, path) == digest(data)
    await carrier.remove(facility, str(tmp_path / "deep"))  # not empty: it stays
    for name in (path, path, str(tmp_path / "deep" / "er")):
        await carrier.remove(facility, name)
    assert not (tmp_path / "deep" / "er").exists()
    with pytest.raises(FileNotFoundError):
        await carrier.read(facility, path, 0, 1)


@pytest.mark.parametrize("facility", ["HERE", "FAR"])
async def test_what_differs_does_not_get_its_place(
    carrier: RoutingCarrier, tmp_path: Path, facility: str
) -> None:
    part, path = tmp_path / "file.part", tmp_path / "file"
    for size, words in ((3, "4 of 3 bytes"), (4, "SHA-256")):
        part.write_bytes(b"abcd")
        with pytest.raises(Corrupted, match=words):
            await carrier.finish(facility, str(part), str(path), size, digest(b"abc"))
        assert list(tmp_path.glob("file*")) == []


@pytest.mark.parametrize("facility", ["HERE", "FAR"])
async def test_a_full_disk_is_told_as_such(carrier: RoutingCarrier, facility: str) -> None:
    with pytest.raises(OSError) as caught:
        await carrier.write(facility, "/dev/full", 0, b"x")
    assert caught.value.errno == errno.ENOSPC


async def test_finishing_again_after_a_lost_answer(carrier: RoutingCarrier, tmp_path: Path) -> None:
    part, path = str(tmp_path / "file.part"), str(tmp_path / "file")
    await carrier.write("FAR", part, 0, b"abc")
    for _ in range(2):
        await carrier.finish("FAR", part, path, 3, digest(b"abc"))
    with pytest.raises(Corrupted):
        await carrier.finish("FAR", part, path, 3, digest(b"abd"))


async def test_many_at_a_time_get_their_own_answers(
    carrier: RoutingCarrier, transport: WatchedTransport, tmp_path: Path
) -> None:
    blobs = {str(tmp_path / str(number)): os.urandom(200_000) for number in range(40)}
    await asyncio.gather(*(carrier.write("FAR", path, 0, data) for path, data in blobs.items()))
    read = await asyncio.gather(*(carrier.read("FAR", path, 0, 10**6) for path in blobs))
    assert read == list(blobs.values())
    assert len(transport.processes) == 1


async def test_a_killed_server_is_started_again_and_asked_again(
    carrier: RoutingCarrier, transport: WatchedTransport, tmp_path: Path
) -> None:
    path = str(tmp_path / "file")
    await carrier.write("FAR", path, 0, b"abc")
    transport.signal(signal.SIGSTOP)
    under_way = [asyncio.create_task(carrier.size("FAR", path)) for _ in range(3)]
    await asyncio.sleep(0)
    transport.signal(signal.SIGKILL)
    assert await asyncio.gather(*under_way) == [3, 3, 3]
    assert len(transport.processes) == 2


async def test_without_patience_it_says_what_cannot_be_reached(
    host: FakeHost, transport: WatchedTransport
) -> None:
    carrier = RoutingCarrier(host, 0.0)
    for error_class in (ErrorClass.TRANSIENT, ErrorClass.PERMANENT):
        transport.refusal = DriverError(error_class, "no way there")
        with pytest.raises(Unreachable, match="files of FAR cannot be reached: no way") as caught:
            await carrier.size("FAR", "/x")
        assert caught.value.error_class is error_class
    patient = RoutingCarrier(host, 600.0)
    with pytest.raises(Unreachable):  # a wrong key gets no better by waiting
        await patient.size("FAR", "/x")
    with pytest.raises(OSError, match="no facility 'NOWHERE'"):
        await patient.size("NOWHERE", "/x")
    await carrier.release()


async def test_a_server_that_cannot_start_says_why(
    host: FakeHost, transport: WatchedTransport, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho welcome\necho no python here >&2\n")
    python.chmod(0o755)
    far = facility_info("FAR", transport="elsewhere", stacks={"w_1": str(python)})
    host = FakeHost(tmp_path, {"FAR": far}, transports={"FAR": transport})
    carrier = RoutingCarrier(host, 0.0)
    with pytest.raises(Unreachable, match="no python here"):
        await carrier.size("FAR", "/x")
    await carrier.release()


async def test_movers_share_the_server_and_the_last_one_ends_it(
    host: FakeHost, transport: WatchedTransport
) -> None:
    first, second = RoutingCarrier(host, 1.0), RoutingCarrier(host, 1.0)
    assert await first.size("FAR", "/no/such") is None
    assert await second.size("FAR", "/no/such") is None
    (process,) = transport.processes
    await first.release()
    assert await second.size("FAR", "/no/such") is None
    assert process.returncode is None  # type: ignore[attr-defined]
    await second.release()
    assert process.returncode == 0  # type: ignore[attr-defined]
    assert await second.size("FAR", "/no/such") is None
    assert len(transport.processes) == 2
    await second.release()
    assert FileServers.of(host) is FileServers.of(host)


async def test_who_goes_away_in_the_middle_breaks_nothing(
    carrier: RoutingCarrier, transport: WatchedTransport, tmp_path: Path
) -> None:
    path = str(tmp_path / "file")
    await carrier.write("FAR", path, 0, b"abc")
    transport.signal(signal.SIGSTOP)
    gone = [asyncio.create_task(carrier.write("FAR", path, 0, bytes(10**6))) for _ in range(5)]
    await asyncio.sleep(0.05)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    transport.signal(signal.SIGCONT)
    await carrier.write("FAR", path, 10**6, b"end")
    assert await carrier.size("FAR", path) == 10**6 + 3
    assert len(transport.processes) == 1


def test_the_server_needs_python_3_9_only() -> None:
    ast.parse((STACK / "file_server.py").read_text(), feature_version=(3, 9))
