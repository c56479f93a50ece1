"""The connection by itself: commands, long-lived processes, files, and the far side's program."""

import ast
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import asyncssh
import pytest
from far_machine import FarMachine

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_housekeeping.connection import Connection, Connections, Lost
from cmd_housekeeping.naming import ref_of

PROGRAM = files("cmd_housekeeping.remote").joinpath("attempt.py")


@contextlib.asynccontextmanager
async def connected(far: FarMachine) -> AsyncIterator[Connection]:
    """A connection that is closed at the end."""
    connection = Connection("FAR", far.settings())
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_command_with_input_output_and_code(far: FarMachine) -> None:
    async with connected(far) as connection:
        ran = await connection.run(["sh", "-c", "cat; echo no >&2; exit 3"], b"in\0put")
        assert (ran.code, ran.stdout, ran.stderr) == (3, b"in\0put", b"no\n")
        words = ["a b", "'c'", "$HOME", "*", ""]
        ran = await connection.run(["printf", "%s|", *words])
        assert ran.stdout.decode() == "|".join(words) + "|"


async def test_a_long_lived_process_is_spoken_to(far: FarMachine) -> None:
    async with connected(far) as connection:
        async with await connection.open(["cat"]) as process:
            for line in (b"one\n", b"two\n"):
                await process.write(line)
                assert await process.readline() == line
        assert connection.connected == 1


async def test_a_key_that_needs_a_word_is_opened_by_a_file(far: FarMachine, tmp_path: Path) -> None:
    plain = asyncssh.read_private_key(far.root / "client_key")
    key, word = tmp_path / "key", tmp_path / "word"
    plain.write_private_key(key, passphrase="open sesame")
    word.write_text("open sesame\n")
    key.chmod(0o600)
    settings = far.settings(key=key, key_password_file=word)
    with pytest.raises(DriverError, match=r"word for .* is open to others"):
        await Connection("FAR", settings).run(["true"])
    word.chmod(0o600)
    connection = Connection("FAR", settings)
    try:
        assert (await connection.run(["echo", "in"])).stdout == b"in\n"
    finally:
        await connection.close()
    word.write_text("another\n")
    with pytest.raises(DriverError, match="cannot be used") as refused:
        await Connection("FAR", settings).run(["true"])
    assert "another" not in str(refused.value)


async def test_a_lost_connection_ends_a_long_lived_process(far: FarMachine) -> None:
    async with connected(far) as connection:
        async with await connection.open(["cat"]) as process:
            far.cut()
            with pytest.raises(Lost):
                await process.readline()
            assert await process.wait() is None
        assert (await connection.run(["echo", "back"])).stdout == b"back\n"
        assert connection.connected == 2


async def test_a_command_cut_off_is_lost_not_failed(far: FarMachine) -> None:
    async with connected(far) as connection:
        call = asyncio.create_task(connection.run(["sh", "-c", f"touch {far.root}/ran; sleep 9"]))
        async with asyncio.timeout(20):
            while not (far.root / "ran").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        far.cut()
        with pytest.raises(Lost) as caught:
            await call
        assert caught.value.error_class is ErrorClass.UNKNOWN


async def test_a_command_that_takes_too_long(far: FarMachine) -> None:
    async with connected(far) as connection:
        with pytest.raises(Lost, match="did not answer in"):
            await connection.run(["sleep", "5"], timeout_s=0.2)
        assert (await connection.run(["echo", "free"])).stdout == b"free\n"


async def test_cancelled_calls_give_their_channels_back(far: FarMachine) -> None:
    async with connected(far) as connection:
        for pause in (0.0, 0.001, 0.003, 0.01, 0.03) * 3:
            call = asyncio.create_task(connection.run(["sleep", "5"]))
            await asyncio.sleep(pause)
            call.cancel()
            await asyncio.wait([call])
        calls = [connection.run(["echo", "free"]) for _ in range(8)]
        async with asyncio.timeout(20):
            assert len(await asyncio.gather(*calls)) == 8


async def test_files_go_and_come_back_also_over_a_cut(far: FarMachine) -> None:
    data = os.urandom(3_000_000)
    path = far.root / "deep" / "er" / "file"
    async with connected(far) as connection:
        await connection.put(data, str(path), 0o640)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o640
        assert [name.name for name in path.parent.iterdir()] == ["file"]
        got = b""
        async for piece in connection.get(str(path), 1000):
            got += piece
            if connection.connected == 1:
                far.cut()
        assert got == data[1000:]
        assert connection.connected == 2
        with pytest.raises(DriverError) as caught:
            _ = [piece async for piece in connection.get("/no/such/file")]
        assert caught.value.error_class is ErrorClass.PERMANENT


async def test_one_connection_for_all_of_a_facility(far: FarMachine) -> None:
    connections = Connections()
    one = connections.of("FAR", far.settings())
    assert connections.of("FAR", far.settings(poll_s=9.0)) is one
    assert connections.of("ELSEWHERE", far.settings()) is not one
    one.hold("driver")
    one.hold("agent")
    await one.run(["true"])
    await one.let_go("driver")
    await one.run(["true"])
    assert one.connected == 1
    await one.let_go("agent")


def test_the_far_program_needs_python_3_6_only() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize("request_", [b"", b'{"verb": "plant", "orders": [{"ke', b"[1]", b"\xff"])
def test_a_request_cut_off_changes_nothing(tmp_path: Path, request_: bytes) -> None:
    argv = [sys.executable, "-I", "-S", str(PROGRAM), str(tmp_path)]
    ran = subprocess.run(argv, input=request_, capture_output=True, check=False)
    assert b"ok" not in ran.stdout
    assert not list(tmp_path.iterdir())


def test_names_of_attempts_stay_inside() -> None:
    refs = [
        ref_of(key) for key in ("a/b/c/d#1", "../..//.#1", "a/b#1", "x" * 999 + "#1", "ä/'\n#2")
    ]
    for ref in refs:
        assert all(part and not part.startswith(".") for part in ref.split("/")), ref
        assert all(len(part) < 255 for part in ref.split("/"))
        assert ref.isascii()
    assert len(set(refs)) == len(refs)
