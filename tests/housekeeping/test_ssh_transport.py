"""The transport `ssh`: commands, long-lived processes, installed programs, and too few channels."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from far_machine import FarMachine, new_key

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_housekeeping.connection import Connections
from cmd_housekeeping.plugin import cmd_register_drivers, cmd_register_transports
from cmd_housekeeping.ssh_transport import SshTransport, SshTransportFactory

STUBBORN = "import signal, time, sys\nprint('up', flush=True)\ntime.sleep(600)\n"


@contextlib.asynccontextmanager
async def transport_of(far: FarMachine) -> AsyncIterator[SshTransport]:
    """The transport to the far machine, closed at the end."""
    made = SshTransportFactory(Connections()).create(info_of(far), FakeHost(far.root))
    try:
        yield made
    finally:
        await made.close()


def info_of(far: FarMachine, **changes: object):  # type: ignore[no-untyped-def]
    section = far.settings(**changes).model_dump(mode="json", exclude_none=True)
    return facility_info("FAR", transport="ssh", settings={"ssh": section})


async def test_a_command_sees_its_environment_and_its_arguments(far: FarMachine) -> None:
    async with transport_of(far) as transport:
        words = "a b'$HOME"
        ran = await transport.run(
            ["sh", "-c", 'printf "%s|" "$MARK" "$1"; cat', "sh", words], {"MARK": words}, b"in\0"
        )
        assert (ran.code, ran.stdout) == (0, f"{words}|{words}|in\0".encode())


async def test_a_process_is_spoken_to_in_lines_and_in_bytes(far: FarMachine) -> None:
    async with transport_of(far) as transport:
        process = await transport.open(["cat"], {})
        await process.write(b"one\n" + bytes(5_000_000) + b"two\nthree")
        assert await process.readline() == b"one\n"
        assert await process.readexactly(5_000_000) == bytes(5_000_000)
        assert await process.readline() == b"two\n"
        assert await process.readexactly(5) == b"three"
        await process.close()
        assert await process.wait() == 0
        assert await process.readline() == b""


async def test_closing_ends_a_process_that_does_not_end_with_its_input(far: FarMachine) -> None:
    async with transport_of(far) as transport:
        process = await transport.open([sys.executable, "-c", STUBBORN, str(far.root)], {})
        assert await process.readline() == b"up\n"
        (child,) = [p for p in psutil.process_iter() if str(far.root) in _arguments(p)]
        await process.close()
        async with asyncio.timeout(10):
            while child.is_running():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


def _arguments(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()[3:]
    return []


async def test_a_program_is_put_there_once_and_mended(far: FarMachine) -> None:
    files = {"a.py": b"print('a')", "b.py": b"b" * 100_000}
    async with transport_of(far) as transport:
        folder = Path(await transport.install(files))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
        assert folder.parent == far.work / "programs"
        before = (folder / "b.py").stat().st_mtime_ns
        (folder / "a.py").unlink()
        assert await transport.install(files) == str(folder)
        assert (folder / "a.py").read_bytes() == files["a.py"]
        assert (folder / "b.py").stat().st_mtime_ns == before
        assert await transport.install({**files, "a.py": b"other"}) != str(folder)


async def test_long_lived_processes_leave_a_channel_for_commands(tmp_path: Path) -> None:
    far = FarMachine(tmp_path, sessions=2)
    far.start()
    try:
        async with transport_of(far) as transport:
            process = await transport.open(["cat"], {})
            # The server opens no third channel: the connection learns it, and says what to do.
            other = await transport.open(["cat"], {})
            with pytest.raises(DriverError, match="raise MaxSessions") as caught:
                await transport.run(["true"], {})
            assert caught.value.error_class is ErrorClass.TRANSIENT
            await other.close()
            assert (await transport.run(["echo", "ok"], {})).stdout == b"ok\n"
            with pytest.raises(DriverError, match="raise MaxSessions"):
                await transport.open(["cat"], {})
            await process.close()
    finally:
        far.clear()


async def test_errors_say_what_may_be_done(far: FarMachine) -> None:
    host = FakeHost(far.root)
    with pytest.raises(DriverError, match="section 'ssh' of its settings is wrong"):
        SshTransportFactory().create(facility_info("FAR", transport="ssh"), host)
    far.trust(new_key(far.root / "other_key"))
    async with transport_of(far) as transport:
        with pytest.raises(DriverError, match="host key") as caught:
            await transport.open(["cat"], {})
        assert caught.value.error_class is ErrorClass.PERMANENT
    far.trust(far.host_key)
    far.stop()
    async with transport_of(far) as transport:
        with pytest.raises(DriverError, match="cannot be reached") as caught:
            await transport.run(["true"], {})
        assert caught.value.error_class is ErrorClass.TRANSIENT


def test_driver_and_transport_share_the_connection(far: FarMachine) -> None:
    (transports,) = cmd_register_transports()
    ssh, *_ = cmd_register_drivers()
    info, host = info_of(far), FakeHost(far.root)
    driver = ssh.create(info, far.settings(), host)
    assert transports.create(info, host).connection is driver.connection  # type: ignore[attr-defined]
