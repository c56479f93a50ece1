"""Scripts that really run, from their order to their log, and what a task of theirs looks like."""

import asyncio
import random
import string
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from panda_place import PandaPlace

from cmd_daemon.hooks import Accepted, DriverError, ErrorClass, JobKind, JobRef, Outcome, Refused
from cmd_housekeeping.payload import Payload
from cmd_local.orders import BadOrder
from cmd_panda.driver import PandaDriver
from cmd_panda.inspecting import logs_of
from cmd_panda.naming import LONGEST, name_of
from cmd_panda.records import JobRecord
from cmd_panda.tasks import command_of, parameters_of

NASTY = """it's "a" $HOME `date` \\ * ? ; && | é\n"""
DEADLINE_S = 60.0


@pytest.fixture
def real(tmp_path: Path) -> Iterator[PandaPlace]:
    """A contract server whose pilots run what was submitted."""
    with PandaPlace(tmp_path) as made:
        made.server.run_locally()
        yield made


@pytest.fixture
async def driver(real: PandaPlace) -> AsyncIterator[PandaDriver]:
    made = await real.driver(env={"SITE": "US DF"})
    yield made
    await made.stop()


async def ran(driver: PandaDriver, place: PandaPlace, **order: Any) -> tuple[JobRef, Outcome]:
    """Submit one script and wait for its end."""
    made = place.order(**order)
    (answer,) = await driver.submit([made])
    assert isinstance(answer, Accepted), answer
    ref = JobRef(made.key, answer.ref)
    async with asyncio.timeout(DEADLINE_S):
        while True:
            (seen,) = await driver.observe([ref])
            if seen.outcome is not None:
                return ref, seen.outcome
            await asyncio.sleep(0.05)


async def log(driver: PandaDriver, ref: JobRef, suffix: str, offset: int = 0) -> bytes:
    (part,) = [p for p in await driver.inspect(ref) if p.log and p.name.endswith(suffix)]
    chunks = [chunk async for chunk in driver.read_log(ref, part.name, offset, follow=True)]
    assert chunks[-1].end
    return b"".join(chunk.data for chunk in chunks)


async def test_arguments_and_environment_arrive_as_they_are(
    real: PandaPlace, driver: PandaDriver
) -> None:
    text = '#!/bin/sh\nprintf "%s|" "$SITE" "$NASTY" "$@"\n'
    params = {"script": text, "args": [NASTY, "{campaign}"], "env": {"NASTY": NASTY}}
    ref, outcome = await ran(driver, real, params=params)
    assert outcome.ok
    said = await log(driver, ref, "payload.stdout")
    assert said.decode() == f"US DF|{NASTY}|{NASTY}|dp2|"
    assert (await log(driver, ref, "payload.stdout", -4)) == b"dp2|"
    assert (await log(driver, ref, "payload.stdout", 6)) == said[6:]


async def test_a_script_that_fails_leads_to_its_words_and_its_log(
    real: PandaPlace, driver: PandaDriver
) -> None:
    ref, outcome = await ran(driver, real, params={"script": "echo no such tract >&2\nexit 7\n"})
    assert (outcome.ok, outcome.exit_code) == (False, 7)
    assert "no such tract" in outcome.message
    assert "see the payload's log" in outcome.message
    parts = await driver.inspect(ref)
    assert [part.kind for part in parts] == ["task", "job", "log", "log", "log"]
    task, job = parts[0], parts[1]
    assert (task.state, dict(task.counts)["failed"]) == ("failed", 1)
    assert task.link.startswith("https://bigmon.example.org/task/")
    assert "pilot 1305 (payload failed): Failed to execute payload: no such tract" in job.message
    assert job.link.startswith("https://bigmon.example.org/job?pandaid=")
    assert b"no such tract" in await log(driver, ref, "payload.stderr")


async def test_a_file_of_the_facility_is_run_where_it_is(
    real: PandaPlace, driver: PandaDriver, tmp_path: Path
) -> None:
    file = tmp_path / "it's.sh"
    file.write_text('echo "here: $1"\n')
    ref, outcome = await ran(driver, real, params={"script": str(file), "args": ["a b"]})
    assert outcome.ok, outcome
    assert await log(driver, ref, "payload.stdout") == b"here: a b\n"


async def test_an_unknown_part_has_no_log(real: PandaPlace, driver: PandaDriver) -> None:
    ref, _ = await ran(driver, real)
    for part in ("job 99999/pilot", "brokerage log", "x"):
        with pytest.raises(DriverError) as caught:
            _ = [chunk async for chunk in driver.read_log(ref, part, 0, follow=False)]
        assert caught.value.error_class is ErrorClass.PERMANENT


async def test_the_brokerages_log_is_read_where_the_dialog_points(still: PandaPlace) -> None:
    driver = await still.driver()
    order = still.order()
    ref = JobRef(order.key, f"task:{still.submit_outside(order)}")
    still.server.faults.stick(still.name(order.key), "brokerage")
    still.advance(60)
    parts = {part.name: part for part in await driver.inspect(ref)}
    assert "no queue would take it" in next(iter(parts.values())).message
    assert "no candidates" in parts["brokerage log"].message
    chunks = [chunk async for chunk in driver.read_log(ref, "brokerage log", 0, follow=False)]
    assert b"no candidates" in b"".join(chunk.data for chunk in chunks)
    assert not chunks[-1].end, "the task is not over"
    await driver.stop()


async def test_a_log_that_is_away_is_a_passing_error(real: PandaPlace, driver: PandaDriver) -> None:
    ref, _ = await ran(driver, real)
    real.server.faults.errors("/logs/*", 502, times=None)
    (part,) = [p.name for p in await driver.inspect(ref) if p.name.endswith("payload.stdout")]
    with pytest.raises(DriverError) as caught:
        _ = [chunk async for chunk in driver.read_log(ref, part, 0, follow=False)]
    assert caught.value.error_class is ErrorClass.TRANSIENT


async def test_no_credential_goes_to_a_log(real: PandaPlace, driver: PandaDriver) -> None:
    ref, _ = await ran(driver, real)
    seen: list[dict[str, str]] = []

    def spy(request: Any, _: object) -> None:
        if request.path.startswith("/logs/"):
            seen.append(request.headers)

    real.server.app.places.insert(0, spy)
    await log(driver, ref, "payload.stdout")
    assert seen
    assert not any("authorization" in headers for headers in seen)


# ---- what is submitted


def test_names_follow_from_keys_and_are_unique(still: PandaPlace) -> None:
    key = "DP2 v1/stép/group with spaces/check/it#12"
    name = name_of(key, "cmd")
    assert name == name_of(key, "cmd")
    assert name.startswith("cmd_DP2_v1_st_p_group_with_spaces_check_a12_")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    long = "/".join(["x" * 300] * 4)
    names = {name_of(f"{long}{n}#1", "a" * 20) for n in range(50)} | {name}
    assert len(names) == 51
    assert max(map(len, names)) <= LONGEST
    assert name_of("a/b/c/d#1", "cmd") != name_of("a/b/c/d#11", "cmd")


def test_a_task_asks_for_what_the_order_says(still: PandaPlace) -> None:
    settings = still.settings(queues={"big": "SLAC_Rubin_Big"}, cloud="US", attempts=2)
    order = still.order(memory=5 * 2**30 + 1, cores=4, walltime_s=7200.4, queue="big")
    told = parameters_of(order, settings)
    assert (told["site"], told["cloud"]) == ("SLAC_Rubin_Big", "US")
    assert (told["ramCount"], told["ramUnit"], told["coreCount"]) == (5121, "MB", 4)
    assert (told["walltime"], told["maxAttempt"], told["maxFailure"]) == (7200, 2, 2)
    assert (told["taskType"], told["uniqueTaskName"]) == ("anal", True)
    assert told["nFiles"] == len(told["pfnList"]) == 1
    assert parameters_of(still.order(), settings)["site"] == "SLAC_Rubin"
    for name, kind in (("nFiles", int), ("ramCount", int), ("walltime", int), ("skipScout", bool)):
        assert type(told[name]) is kind, f"{name}: PanDA takes texts and then waits for ever"


def test_a_command_has_nothing_that_a_shell_or_a_pilot_could_take_for_its_own() -> None:
    payload = Payload(f"#!/bin/sh\necho {NASTY}", "", (), (NASTY,), {"X": NASTY})
    command = command_of(payload)
    assert not set(command) & set("'\"`$\\*?;#!(){}[]~%\n")
    assert command == command_of(payload), "the same order is the same task"


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_ends_as_its_script_does(tmp_path: Path, code: int) -> None:
    command = command_of(Payload(f"exit {code}\n", "", ("/bin/sh",), (), {}))
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == code


def test_a_script_that_is_too_long_is_told_where_to_go() -> None:
    noise = "".join(random.Random(1).choices(string.printable, k=200_000))
    with pytest.raises(BadOrder, match="too long to travel"):
        command_of(Payload(noise, "", ("/bin/sh",), (), {}))


async def test_orders_that_can_not_be_carried_out_are_refused_for_good(still: PandaPlace) -> None:
    driver = await still.driver()
    bad = [
        still.order(params={"script": ""}),
        still.order(params={"script": "below.sh"}),
        still.order(params={"script": "#!/bin/sh\n", "args": ["{nothing}"]}),
        still.order(kind=JobKind.COLLECT),
    ]
    answers = await driver.submit(bad)
    assert len(answers) == 4
    for answer in answers:
        assert isinstance(answer, Refused)
        assert (answer.error_class, bool(answer.message)) == (ErrorClass.PERMANENT, True)
    assert not still.asked(lambda each: "submit" in each)
    await driver.stop()


# ---- where logs are


@pytest.mark.parametrize(
    ("stdout", "names"),
    [
        ("", []),
        (
            "https://h/x/PandaJob_5/pilotlog.txt",
            ["pilotlog.txt", "payload.stdout", "payload.stderr"],
        ),
        ("https://h/q/26-11-22/17.out", ["17.out", "17.err", "17.log"]),
        (
            "https://h/q/17.out?sig=a%2Fb",
            ["17.out?sig=a%2Fb", "17.err?sig=a%2Fb", "17.log?sig=a%2Fb"],
        ),
    ],
)
def test_logs_lie_beside_the_pilots_own(stdout: str, names: list[str]) -> None:
    found = logs_of(JobRecord(5, "failed", stdout=stdout))
    assert [url.rpartition("/")[2] for url in found.values()] == names
