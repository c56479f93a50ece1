"""Process jobs at PanDA: what is told of them while they go on, and what they come to."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from bps_place import BpsPlace, following
from panda_server.model import commands

from cmd_daemon.hooks import (
    Absent,
    Accepted,
    Command,
    Control,
    ErrorClass,
    Found,
    JobOrder,
    JobRef,
    Observation,
    Outcome,
    Phase,
    QuantaCount,
    Refused,
    Unclear,
)
from cmd_panda.bps import agents
from cmd_panda.driver import PandaDriver


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BpsPlace]:
    monkeypatch.setattr(agents, "BACKOFF_S", 1e-9)
    made = BpsPlace(tmp_path)
    yield made
    made.server.stop()


@pytest_asyncio.fixture
async def driver(place: BpsPlace) -> AsyncIterator[PandaDriver]:
    made = await place.driver()
    yield made
    await made.stop()


async def submitted(driver: PandaDriver, order: JobOrder) -> JobRef:
    """The reference of an order that is accepted."""
    [answer] = await driver.submit([order])
    assert isinstance(answer, Accepted), answer
    return JobRef(order.key, answer.ref)


async def outcome_of(driver: PandaDriver, ref: JobRef) -> Outcome:
    """What an attempt comes to."""
    last = [seen async for seen in following(driver, ref)][-1]
    assert last.outcome is not None
    return last.outcome


async def note_with(driver: PandaDriver, ref: JobRef, words: str) -> Observation:
    """The first observation that says so."""
    async for seen in following(driver, ref):
        if seen.progress and words in seen.progress.note:
            return seen
    raise AssertionError(f"it never said {words!r}")


def try_again(place: BpsPlace, key: str) -> None:
    """What waits for a while need not."""
    record = place.record(key)
    record["not_before"] = 0.0
    (place.directory(key) / "record.json").write_text(json.dumps(record))


async def test_a_failed_quantum_names_its_job(place: BpsPlace, driver: PandaDriver) -> None:
    (place.repo / "failed").write_text("2")
    place.server.pilot.fail("*_cal_1006_2*", 1305, "Failed to execute payload: BadImage")
    order = place.order()
    ref = await submitted(driver, order)
    outcome = await outcome_of(driver, ref)
    assert not outcome.ok
    assert outcome.error_class is None
    assert outcome.quanta == {"cal": QuantaCount(expected=4, successful=3, failed=1)}
    [failure] = outcome.failures
    assert json.loads(failure.data_id) == {"detector": 2, "visit": 1006}
    assert failure.message.startswith("BadImage: 2 (PanDA job ")
    assert "at SLAC_Rubin" in failure.message
    assert failure.exit == 1
    assert "BadImage: 2 (PanDA job " in outcome.message
    parts = await driver.inspect(ref)
    assert [part.state for part in parts if part.kind == "request"] == ["SubFinished"]
    failed = [part for part in parts if part.kind == "job" and part.state == "failed"]
    assert len(failed) == 5, "each try of PanDA"
    assert "payload failed" in failed[0].message


async def test_hopeless_jobs_end_the_retries(place: BpsPlace, driver: PandaDriver) -> None:
    (place.repo / "failed").write_text("0 1 2 3")
    place.server.pilot.fail("*_cal*", 1186, "no software directory")
    outcome = await outcome_of(driver, await submitted(driver, place.order()))
    assert outcome.error_class is ErrorClass.PERMANENT
    assert len(outcome.failures) == 4


async def test_outputs_are_taken_in_by_us_where_the_final_job_failed(
    place: BpsPlace, driver: PandaDriver
) -> None:
    good = await outcome_of(driver, await submitted(driver, place.order()))
    assert good.ok
    assert not (place.repo / "aggregated").exists()
    place.server.pilot.fail("*", 1305, tasks="*_finalJob_*")
    outcome = await outcome_of(driver, await submitted(driver, place.order()))
    assert outcome.ok, "all quanta succeeded, that is what counts"
    assert (place.repo / "aggregated").read_text().count("\n") == 1


async def test_a_paused_task_is_told_and_not_taken_for_the_end(
    place: BpsPlace, driver: PandaDriver
) -> None:
    order = place.order()
    tasks = f"{place.name(order.key)}_*"
    rule = place.server.pilot.hold("*_cal*", at="activated", tasks=tasks)
    ref = await submitted(driver, order)
    async for _ in following(driver, ref):
        cal = [t for t in place.tasks_of(order.key) if "_cal_" in t.parameters["taskName"]]
        with place.server.world.lock:
            if cal and commands.register(place.server.world, cal[0].id, "pause", "", True)[0] == 0:
                break
    seen = await note_with(driver, ref, "paused")
    assert seen.phase is Phase.RUNNING
    with place.server.world.lock:
        commands.register(place.server.world, cal[0].id, "resume", "", True)
        place.server.pilot.forget(rule, place.server.world)
    assert (await outcome_of(driver, ref)).ok


async def test_a_workflow_is_suspended_and_resumed_on_command(
    place: BpsPlace, driver: PandaDriver
) -> None:
    order = place.order()
    rule = place.server.pilot.hold("*_cal*", tasks=f"{place.name(order.key)}_*")
    ref = await submitted(driver, order)
    async for _ in following(driver, ref):
        if place.requests_of(order.key):
            break
    for command, state in ((Command.PAUSE, "Suspended"), (Command.RESUME, "Transforming")):
        async for _ in following(driver, ref):
            [answer] = await driver.control([Control(ref.key, ref.ref, command)])
            if answer.done:
                break
            assert answer.error_class in (ErrorClass.NOT_YET, ErrorClass.TRANSIENT)
        [request] = place.requests_of(order.key)
        assert (request.status == "Suspended") == (command is Command.PAUSE), (
            state,
            request.status,
        )
    with place.server.world.lock:
        place.server.pilot.forget(rule, place.server.world)
    assert (await outcome_of(driver, ref)).ok


async def test_what_idds_has_is_aborted_there(place: BpsPlace, driver: PandaDriver) -> None:
    order = place.order()
    (place.repo / "failed").write_text("0 1 2 3")
    place.server.pilot.hold("*_cal*", tasks=f"{place.name(order.key)}_*")
    ref = await submitted(driver, order)
    async for seen in following(driver, ref):
        if seen.progress and seen.progress.total:
            break
    assert (await driver.cancel([ref]))[0].done
    outcome = await outcome_of(driver, ref)
    assert outcome.message.startswith("cancelled")
    [request] = place.requests_of(order.key)
    assert request.status == "Cancelled"


async def test_a_call_that_comes_late_plants_nothing(place: BpsPlace, driver: PandaDriver) -> None:
    """A daemon that lost its connection has a new program there; what it sent to the old one may still
    be read."""
    first = place.order()
    await outcome_of(driver, await submitted(driver, first))
    late, newer = place.order(), await place.driver()
    assert await newer.find([late.key]) == [Absent(late.key)]
    [answer] = await driver.submit([late])
    assert isinstance(answer, Refused)
    assert "taken over" in answer.message
    assert await newer.find([late.key]) == [Absent(late.key)]
    await newer.stop()


async def test_a_parked_task_is_for_a_person(place: BpsPlace, driver: PandaDriver) -> None:
    order = place.order()
    (place.repo / "failed").write_text("0 1 2 3")
    place.server.faults.stick(f"{place.name(order.key)}_02_cal*", "exhausted")
    outcome = await outcome_of(driver, await submitted(driver, order))
    assert outcome.error_class is ErrorClass.PERMANENT
    assert "is parked by PanDA (exhausted)" in outcome.message


async def test_what_gets_nowhere_for_hours_is_told(place: BpsPlace, driver: PandaDriver) -> None:
    order = place.order()
    place.server.faults.stick(f"{place.name(order.key)}_02_cal*", "brokerage")
    ref = await submitted(driver, order)
    seen = await note_with(driver, ref, "candidates")
    assert "no change" not in seen.progress.note  # type: ignore[union-attr]
    place.server.advance(13 * 3600.0)
    assert "no change for 13 hours in state 'pending'" in (
        (await note_with(driver, ref, "no change")).progress.note  # type: ignore[union-attr]
    )


async def test_nothing_is_lost_while_panda_is_away(place: BpsPlace, driver: PandaDriver) -> None:
    place.server.faults.errors(
        "*relay_idds_command", 503, "busy", command="get_request_id_by_name", times=None
    )
    order = place.order()
    ref = await submitted(driver, order)
    seen = await note_with(driver, ref, "iDDS")
    assert "503" in seen.progress.note  # type: ignore[union-attr]
    assert place.requests_of(order.key) == []
    place.server.faults.clear()
    try_again(place, order.key)
    assert (await outcome_of(driver, ref)).ok
    assert (place.repo / "graphs").read_text().count("\n") == 1, "the graph is built once"


async def test_a_missing_token_is_waited_for(place: BpsPlace, driver: PandaDriver) -> None:
    token = place.token.read_text()
    place.token.rename(place.token.with_name("away"))
    order = place.order()
    ref = await submitted(driver, order)
    await note_with(driver, ref, "credential")
    assert "credential for PanDA cannot be read" in place.record(order.key)["message"]
    place.token.write_text(token)
    try_again(place, order.key)
    assert (await outcome_of(driver, ref)).ok


async def test_a_facility_that_is_away_is_told_and_nothing_is_guessed(
    place: BpsPlace, driver: PandaDriver
) -> None:
    order = place.order()
    ref = await submitted(driver, order)
    place.transport.cut = True
    away = await place.driver()
    [seen] = await away.observe([ref])
    assert seen.phase is Phase.QUEUED
    assert "cannot be reached" in seen.progress.note  # type: ignore[union-attr]
    assert isinstance((await away.find([order.key]))[0], Unclear)
    assert not (await away.cancel([ref]))[0].done
    place.transport.cut = False
    assert await away.find([order.key]) == [Found(order.key, ref.ref)]
    assert (await outcome_of(away, ref)).ok
    await away.stop()


async def test_a_removed_directory_is_gone(place: BpsPlace, driver: PandaDriver) -> None:
    order = place.order(where="visit = 4711")
    ref = await submitted(driver, order)
    assert "is empty" in (await outcome_of(driver, ref)).message
    # At once, for its program may still be writing its last record there.
    place.directory(order.key).rename(place.repo / "removed")
    [seen] = await driver.observe([ref])
    assert seen.phase is Phase.GONE


async def test_one_question_tells_of_all_workflows(place: BpsPlace, driver: PandaDriver) -> None:
    place.server.pilot.hold("*_cal*")
    orders = [place.order() for _ in range(12)]
    refs = [JobRef(each.key, each.ref) for each in await driver.submit(orders)]  # type: ignore[union-attr]
    async for _ in following(driver, refs[0]):
        await driver.observe(refs)
        if all(place.record(order.key).get("stage") == "sent" for order in orders):
            break
    await driver.observe(refs)
    before = len(place.asked())
    for _ in range(3):
        place.server.advance(60.0)
        await driver.observe(refs)
    assert len(place.asked()) - before <= 3 * 2
    place.server.pilot.rules.clear()


async def test_memory_class_and_growth_reach_panda(place: BpsPlace, driver: PandaDriver) -> None:
    order = replace(place.order(), memory=3 * 1024**3)
    await outcome_of(driver, await submitted(driver, order))
    file = next(place.directory(order.key).glob("bps.*.yaml")).read_text()
    assert "requestMemory: 3072" in file
    assert "memoryMultiplier: 2.0" in file
