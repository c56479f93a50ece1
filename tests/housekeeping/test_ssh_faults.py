"""The ssh driver when the network, the server, the disk or the script misbehave."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from far_machine import FarMachine, new_key, script_order

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    DriverError,
    ErrorClass,
    JobOrder,
    JobRef,
    Outcome,
    Phase,
    Refused,
)
from cmd_daemon.testing.driver_contract import outcomes, submitted, wait_until
from cmd_housekeeping.naming import ref_of
from cmd_housekeeping.ssh_driver import SshDriver

DEADLINE_S = 30.0


@contextlib.asynccontextmanager
async def running(far: FarMachine, **changes: Any) -> AsyncIterator[SshDriver]:
    """A started driver that is stopped at the end."""
    driver = far.driver(**changes)
    await driver.start()
    try:
        yield driver
    finally:
        await driver.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something outside to become true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 the outside world sets no events
            await asyncio.sleep(0.02)


async def outcome_of(driver: SshDriver, order: JobOrder) -> Outcome:
    """Run one order to its end."""
    refs = await submitted(driver, [order])
    return (await outcomes(driver, refs, DEADLINE_S))[order.key]


async def refused(driver: SshDriver, order: JobOrder) -> Refused:
    """The refusal of an order that leaves nothing behind."""
    (answer,) = await driver.submit([order])
    assert isinstance(answer, Refused), answer
    if answer.error_class is not ErrorClass.UNKNOWN:
        assert list(await driver.find([order.key])) == [Absent(order.key)]
    return answer


async def patiently(driver: SshDriver, refs: list[JobRef]) -> dict[str, Outcome]:
    """Outcomes, while observing may fail for now."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await outcomes(driver, refs, DEADLINE_S)
            except DriverError as error:
                if error.error_class is not ErrorClass.TRANSIENT:
                    raise
                await asyncio.sleep(0.05)


def directory(far: FarMachine, order: JobOrder) -> Path:
    """The attempt's directory at the far side."""
    return far.work / "attempts" / ref_of(order.key)


async def test_arguments_environment_and_result(far: FarMachine) -> None:
    script = """#!/bin/sh
echo "$CMD_GROUP $1 $2 $EXTRA"
echo '{"warmed": 12}'
"""
    params = {
        "args": ["{campaign}:{attempt}", "$(touch /tmp/never); 'quoted' {{x}}"],
        "env": {"EXTRA": "{output_run}"},
    }
    order = script_order(script, params=params, output_run="u/r")
    async with running(far) as driver:
        outcome = await outcome_of(driver, order)
        assert outcome.ok, outcome
        assert outcome.extra["result"] == {"warmed": 12}
        assert outcome.started_at is not None
        assert outcome.finished_at is not None
        assert outcome.finished_at >= outcome.started_at
        log = (directory(far, order) / "log.txt").read_text()
        assert f"{order.group} camp:1 $(touch /tmp/never); 'quoted' {{x}} u/r" in log


async def test_a_failing_script_tells_its_exit_code_and_last_words(far: FarMachine) -> None:
    async with running(far) as driver:
        outcome = await outcome_of(driver, script_order("echo no such tape\nexit 7\n"))
    assert (outcome.ok, outcome.exit_code, outcome.error_class) == (False, 7, None)
    assert outcome.message == "the script ended with exit code 7; its last lines: no such tape"


async def test_a_script_file_travels(far: FarMachine) -> None:
    scripts = far.root / "scripts"
    scripts.mkdir()
    (scripts / "warm.sh").write_text("#!/bin/sh\necho '{\"warm\": 1}'\n")
    async with running(far, scripts_dir=scripts) as driver:
        outcome = await outcome_of(driver, script_order("warm.sh"))
        assert outcome.extra["result"] == {"warm": 1}
        missing = await refused(driver, script_order("cool.sh"))
        assert missing.error_class is ErrorClass.PERMANENT
        assert "cool.sh" in missing.message
        assert str(scripts) in missing.message
        (scripts / "out").symlink_to("/etc")
        for outside in ("../host_key", "out/passwd"):
            answer = await refused(driver, script_order(outside))
            assert answer.error_class is ErrorClass.PERMANENT
            assert "is not below" in answer.message


async def test_a_file_at_the_facility_is_run_there_or_missed_there(far: FarMachine) -> None:
    there = far.root / "at-facility.sh"
    async with running(far) as driver:
        answer = await refused(driver, script_order(str(there)))
        assert answer.error_class is ErrorClass.PERMANENT
        assert f"{there} is missing at the facility" in answer.message
        there.write_text("echo '{\"here\": 1}'\n")
        outcome = await outcome_of(driver, script_order(str(there)))
        assert outcome.extra["result"] == {"here": 1}


async def test_the_server_stops_and_starts_in_the_middle_of_a_run(far: FarMachine) -> None:
    order = script_order(f"while [ ! -e {far.root}/go ]; do sleep 0.1; done; echo done\n")
    async with running(far) as driver:
        refs = await submitted(driver, [order])
        await wait_until(driver, refs, {Phase.RUNNING}, DEADLINE_S)
        far.stop()
        with pytest.raises(DriverError) as caught:
            await driver.observe(refs)
        assert caught.value.error_class is ErrorClass.TRANSIENT
        late = script_order("echo never\n")
        (answer,) = await driver.submit([late])
        assert isinstance(answer, Refused)
        assert answer.error_class is ErrorClass.TRANSIENT, "it certainly was not sent"
        (far.root / "go").touch()
        far.start()
        ended = await patiently(driver, refs)
        assert ended[order.key].ok
        assert await submitted(driver, [order]) == refs
        assert far.ledger() == {order.key: 1}


async def test_a_submit_cut_off_before_it_arrives_can_never_arrive_late(far: FarMachine) -> None:
    order = script_order("echo late\n")
    async with running(far) as driver:
        with far.flag("cut-before"):
            (answer,) = await driver.submit([order])
            assert isinstance(answer, Refused)
            assert answer.error_class is ErrorClass.UNKNOWN
            assert list(await driver.find([order.key])) == [Absent(order.key)]
        # Now the delayed command goes on at the far side, after we were told of its absence.
        await until((far.root / "late-answer").exists)
        await until(lambda: b"came too late" in (far.root / "late-answer").read_bytes())
        assert list(await driver.find([order.key])) == [Absent(order.key)]
        assert far.ledger() == {}
        assert (await outcome_of(driver, order)).ok
        assert far.ledger() == {order.key: 1}


async def test_a_daemon_that_was_replaced_plants_no_more(far: FarMachine) -> None:
    async with running(far) as old, running(far) as new:
        answer = await refused(old, script_order("echo two daemons\n"))
        assert answer.error_class is ErrorClass.TRANSIENT
        assert "another has taken over" in answer.message
        assert (await outcome_of(new, script_order("echo one daemon\n"))).ok


async def test_a_changed_host_key_is_refused(far: FarMachine) -> None:
    far.trust(new_key(far.root / "another_key"))
    driver = far.driver()
    with pytest.raises(DriverError) as caught:
        await driver.start()
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert "shows a host key that is not the one" in str(caught.value)
    assert "facility FAR" in str(caught.value)
    far.trust(far.host_key)
    driver = far.driver()
    await driver.start()
    await driver.stop()


@pytest.mark.parametrize("what", ["missing", "open", "unknown", "no-hosts"])
async def test_a_bad_credential_is_refused_with_words(far: FarMachine, what: str) -> None:
    key = far.root / "client_key"
    words = "cannot be used"
    if what == "missing":
        key.unlink()
    elif what == "open":
        key.chmod(0o644)
        words = "open to others"
    elif what == "unknown":
        new_key(key)
        words = "does not let the key"
    else:
        (far.root / "known_hosts").unlink()
    driver = far.driver()
    with pytest.raises(DriverError) as caught:
        await driver.start()
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert words in str(caught.value)


async def test_an_unreachable_machine_is_not_asked_too_often(far: FarMachine) -> None:
    far.stop()
    driver = far.driver(backoff_s=30.0, backoff_max_s=60.0)
    for words in ("cannot be reached", "next try in"):
        with pytest.raises(DriverError) as caught:
            await driver.start()
        assert caught.value.error_class is ErrorClass.TRANSIENT
        assert words in str(caught.value)


async def test_nothing_of_the_users_own_is_read(
    far: FarMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = far.root / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text("Host *\n  ProxyCommand /bin/false\n  User nobody\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(far.root / "no-agent"))
    async with running(far) as driver:
        assert (await outcome_of(driver, script_order("echo mine\n"))).ok


@pytest.mark.parametrize("sessions", [1, 3])
async def test_a_server_that_opens_few_channels(tmp_path: Path, sessions: int) -> None:
    far = FarMachine(tmp_path, sessions=sessions)
    far.start()
    try:
        async with running(far, channels=8) as driver:
            calls = [driver.connection.run(["echo", str(n)]) for n in range(10)]
            ran = await asyncio.gather(*calls)
            assert [one.stdout for one in ran] == [f"{n}\n".encode() for n in range(10)]
            assert driver.connection.connected == 1
    finally:
        far.clear()


STUBBORN = "trap '' TERM\necho stubborn\nwhile true; do sleep 0.2; done\n"


async def test_a_script_that_ignores_the_request_to_end_is_killed(far: FarMachine) -> None:
    order = script_order(STUBBORN)
    async with running(far) as driver:
        refs = await submitted(driver, [order])
        await until(lambda: (directory(far, order) / "log.txt").exists())
        assert (await driver.cancel(refs))[0].done
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
        assert (outcome.ok, outcome.message) == (False, "cancelled")
        await until(lambda: not far.marked())


async def test_the_time_limit_holds_without_the_daemon(far: FarMachine) -> None:
    order = script_order(STUBBORN, walltime_s=0.5)
    async with running(far) as driver:
        refs = await submitted(driver, [order])
    far.stop()
    await until(lambda: (directory(far, order) / "exit.json").exists())
    await until(lambda: not far.marked())
    far.start()
    async with running(far) as driver:
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
    assert outcome.exit_code == 124
    assert "not done after the 0.5 s it was allowed" in outcome.message


async def test_a_supervisor_that_vanished_takes_its_script_along(far: FarMachine) -> None:
    order = script_order("setsid sleep 600 & sleep 600\n")
    async with running(far) as driver:
        refs = await submitted(driver, [order])
        lock = directory(far, order) / "supervisor.lock"
        await until(lambda: (directory(far, order) / "log.txt").exists())
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
        outcome = (await outcomes(driver, refs, DEADLINE_S))[order.key]
        assert outcome.error_class is ErrorClass.TRANSIENT
        assert "vanished" in outcome.message
        await until(lambda: not far.marked())
        assert far.ledger() == {order.key: 1}


async def test_fifty_megabytes_of_output(far: FarMachine) -> None:
    line = "a line of sixty-three bytes that a talkative script writes out\n"
    order = script_order(f"yes '{line.strip()}' | head -c 50000000\n")
    wanted = hashlib.sha256((line.encode() * (50_000_000 // len(line) + 1))[:50_000_000])
    async with running(far) as driver:
        refs = await submitted(driver, [order])
        got, size = hashlib.sha256(), 0
        async for chunk in driver.read_log(refs[0], "log.txt", 0, follow=True):
            assert chunk.offset == size
            size += len(chunk.data)
            got.update(chunk.data)
        assert size == 50_000_000
        assert got.digest() == wanted.digest()
        last = [c async for c in driver.read_log(refs[0], "", -100, follow=False)]
        assert (last[0].offset, len(last[0].data), last[-1].end) == (49_999_900, 100, True)


async def test_a_log_is_followed_through_a_lost_connection(far: FarMachine) -> None:
    script = f"echo one\nwhile [ ! -e {far.root}/go ]; do sleep 0.05; done\necho two\n"
    async with running(far) as driver:
        refs = await submitted(driver, [script_order(script)])
        data = b""
        async with asyncio.timeout(DEADLINE_S):
            async for chunk in driver.read_log(refs[0], "log.txt", 0, follow=True):
                data += chunk.data
                if data == b"one\n" and not (far.root / "go").exists():
                    far.cut()
                    (far.root / "go").touch()
        assert data == b"one\ntwo\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk (tmpfs)")
async def test_a_full_disk_loses_no_ending(far: FarMachine) -> None:
    far.work.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(far.work)]
    await asyncio.to_thread(subprocess.run, mount, check=True)
    try:
        async with running(far) as driver:
            greedy = script_order("head -c 2000000 /dev/zero > filling\nexit 9\n")
            refs = await submitted(driver, [greedy])
            outcome = (await outcomes(driver, refs, DEADLINE_S))[greedy.key]
            assert outcome.exit_code == 9, "the end was written though the disk was full"
            order = script_order("echo room\n")
            answer = await refused(driver, order)
            assert answer.error_class is ErrorClass.TRANSIENT
            assert "is full" in answer.message
            (directory(far, greedy) / "filling").unlink()
            assert (await outcome_of(driver, order)).ok
    finally:
        far.clear()
        await until(lambda: not far.marked())
        await asyncio.to_thread(subprocess.run, ["umount", str(far.work)], check=True)


async def test_slots_are_counted_at_the_far_side(far: FarMachine) -> None:
    order = script_order("sleep 600\n")
    async with running(far, slots=1) as driver:
        refs = await submitted(driver, [order])
    async with running(far, slots=1) as driver:
        answer = await refused(driver, script_order("echo too many\n"))
        assert answer.error_class is ErrorClass.NOT_YET
        await driver.cancel(refs)
        await outcomes(driver, refs, DEADLINE_S)
        assert (await outcome_of(driver, script_order("echo room now\n"))).ok


async def test_one_command_for_all_attempts(far: FarMachine) -> None:
    async with running(far) as driver:
        asked = 0
        run = driver.connection.run

        async def counting(*args: Any, **more: Any) -> Any:
            nonlocal asked
            asked += 1
            return await run(*args, **more)

        driver.connection.run = counting  # type: ignore[method-assign]
        orders = [script_order("echo one of many\n") for _ in range(20)]
        answers = await driver.submit(orders)
        assert all(isinstance(answer, Accepted) for answer in answers)
        await driver.find([order.key for order in orders])
        await driver.observe([JobRef(order.key, ref_of(order.key)) for order in orders])
        await driver.cancel([JobRef(order.key, ref_of(order.key)) for order in orders])
        assert asked == 4
        refs = [JobRef(order.key, ref_of(order.key)) for order in orders]
        await outcomes(driver, refs, DEADLINE_S)


async def test_a_removed_program_is_put_there_again(far: FarMachine) -> None:
    async with running(far) as driver:
        for file in (far.work / "program").iterdir():
            file.unlink()
        order = script_order("echo again\n")
        assert (await outcome_of(driver, order)).ok


async def test_a_missing_python_is_told(far: FarMachine) -> None:
    driver = far.driver(python="/opt/no/python3")
    with pytest.raises(DriverError) as caught:
        await driver.start()
    assert caught.value.error_class is ErrorClass.PERMANENT
    assert "/opt/no/python3" in str(caught.value)
    await driver.stop()
