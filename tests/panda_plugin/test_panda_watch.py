"""One look for everybody: what it costs, and that nothing escapes it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from panda_place import FACILITIES, PandaPlace

from cmd_daemon.hooks import JobOrder, JobRef, Observation, Phase
from cmd_panda.driver import PandaDriver
from cmd_panda.sharing import Servers

SINCE = "GET /api/v1/task/get_tasks_detailed_info_since"
RELAY = "POST /server/panda/relay_idds_command"


@pytest.fixture
async def driver(still: PandaPlace) -> AsyncIterator[PandaDriver]:
    made = await still.driver()
    yield made
    await made.stop()


def outside(place: PandaPlace, order: JobOrder) -> JobRef:
    """An attempt whose task is there already."""
    return JobRef(order.key, f"task:{place.submit_outside(order)}")


async def one(driver: PandaDriver, ref: JobRef) -> Observation:
    (seen,) = await driver.observe([ref])
    return seen


async def test_a_campaign_of_a_thousand_groups_costs_two_calls_a_cycle(still: PandaPlace) -> None:
    """Three facilities with one server and credential; iDDS requests are waited for too."""
    drivers = {name: await still.driver(name) for name in FACILITIES}
    still.server.pilot.hold()
    refs: dict[str, list[JobRef]] = {name: [] for name in FACILITIES}
    for number in range(1000):
        name = list(FACILITIES)[number % 3]
        refs[name].append(outside(still, still.order(facility=name)))
    watch = Servers.of(still.host).at(still.settings(), self_ := object()).watch
    still.advance(5)

    async def cycle() -> list[str]:
        before = len(still.server.app.requests)
        seen = await asyncio.gather(
            *(driver.observe(refs[name]) for name, driver in drivers.items())
        )
        await asyncio.gather(*(watch.requests(range(1, 400)) for _ in FACILITIES))
        assert sum(len(each) for each in seen) == 1000
        assert {each.phase for some in seen for each in some} <= {Phase.QUEUED, Phase.RUNNING}
        return still.server.app.requests[before:]

    first = await cycle()
    assert sorted(first) == [SINCE, RELAY]
    assert await cycle() == [], "one look serves the whole cycle"
    for _ in range(3):
        still.advance(6)
        assert sorted(await cycle()) == [SINCE, RELAY]
    still.advance(300)
    assert await cycle() == [SINCE, SINCE], "the counters of what runs; requests wait for a cycle"
    still.advance(6)
    assert sorted(await cycle()) == [SINCE, RELAY]
    for driver in drivers.values():
        await driver.stop()
    await Servers.of(still.host).let_go(self_)


async def test_facilities_with_other_credentials_do_not_share(still: PandaPlace) -> None:
    other = still.folder / "other"
    other.write_text(still.server.production_token())
    one, two = await still.driver("USDF"), await still.driver("FrDF", token_file=str(other))
    await one.observe([outside(still, still.order())])
    await two.observe([outside(still, still.order())])
    assert len(still.asked(lambda each: each == SINCE)) == 2
    await one.stop()
    await two.stop()


async def test_a_list_that_is_cut_is_asked_for_again_longer(still: PandaPlace) -> None:
    driver = await still.driver(page=10)
    refs = [outside(still, still.order()) for _ in range(35)]
    still.advance(5)
    seen = {each.key: each.phase for each in await driver.observe(refs)}
    assert len(seen) == 35
    assert set(seen.values()) == {Phase.RUNNING}, "the newest are told of too"
    assert len(still.asked(lambda each: each == SINCE)) == 3, "10, 20 and 40"
    still.advance(6)
    await driver.observe(refs)
    assert len(still.asked(lambda each: each == SINCE)) == 4, "what it learned it keeps"
    await driver.stop()


async def test_what_jedi_dates_back_is_seen_by_the_next_sweep(still: PandaPlace) -> None:
    driver = await still.driver(overlap_s=60, sweep_s=1800)
    ref = outside(still, still.order())
    still.server.pilot.hold()
    still.advance(200)
    assert (await one(driver, ref)).phase is Phase.RUNNING
    still.advance(600)
    with still.server.world.lock:
        world = still.server.world
        task = world.tasks[int(ref.ref.partition(":")[2])]
        task.status = "done"
        task.modified = world.now() - timedelta(hours=20)
        world.touch(task)
    assert (await one(driver, ref)).phase is Phase.RUNNING, "the look since then can't tell"
    still.advance(1201)
    assert (await one(driver, ref)).phase is Phase.DONE
    await driver.stop()


async def test_a_restarted_daemon_reaches_back_to_its_oldest_attempt(still: PandaPlace) -> None:
    driver = await still.driver()
    (answer,) = await driver.submit([order := still.order()])
    ref = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    still.advance(200)
    await driver.stop()
    still.advance(9 * 86_400)
    again = await still.driver(token_file=str(still.folder / "token"))
    still.write_token()
    assert (await one(again, ref)).phase is Phase.DONE
    await again.stop()


async def test_facilities_that_begin_later_make_the_look_reach_further_back(
    still: PandaPlace,
) -> None:
    old = await still.driver("FrDF")
    (answer,) = await old.submit([order := still.order(facility="FrDF")])
    ref = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    still.advance(200)
    await old.stop()
    still.advance(5 * 86_400)
    new, old = await still.driver("USDF"), await still.driver("FrDF")
    (fresh,) = await new.submit([later := still.order()])
    await new.observe([JobRef(later.key, fresh.ref)])  # type: ignore[union-attr]
    assert (await one(old, ref)).phase is Phase.DONE
    await new.stop()
    await old.stop()


async def test_progress_counts_files_and_not_jobs(still: PandaPlace, driver: PandaDriver) -> None:
    """A failed job is tried again as a new one: it would be counted twice."""
    order = still.order()
    told = still.submit_outside(order, nFiles=4, pfnList=list("abcd"), maxAttempt=3, maxFailure=3)
    still.server.pilot.fail("b", times=2)
    still.server.pilot.hold("d")
    still.advance(300)
    seen = await one(driver, JobRef(order.key, f"task:{told}"))
    assert seen.progress is not None
    assert (seen.progress.done, seen.progress.total, seen.progress.failed) == (3, 4, 0)
    assert seen.progress.unit == "files"
    with still.server.world.lock:
        assert len(still.server.world.jobs) == 6


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("throttled", "throttled by PanDA"),
        ("pending", "waiting for free slots"),
        ("brokerage", "no candidates"),
    ],
)
async def test_why_a_task_goes_nowhere_is_told(
    still: PandaPlace, driver: PandaDriver, how: str, words: str
) -> None:
    ref = outside(still, order := still.order())
    still.server.faults.stick(still.name(order.key), how)
    still.advance(60)
    seen = await one(driver, ref)
    assert seen.phase in (Phase.QUEUED, Phase.RUNNING)
    assert words in seen.message
    assert "<a" not in seen.message
    assert seen.progress is not None
    assert seen.progress.note == seen.message, "that is what people are shown"


async def test_no_change_for_hours_is_flagged_with_its_reason_and_the_brokerages_log(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = outside(still, order := still.order())
    still.server.faults.stick(still.name(order.key), "brokerage")
    still.advance(11 * 3600)
    assert "no change" not in (await one(driver, ref)).message
    still.advance(2 * 3600)
    message = (await one(driver, ref)).message
    assert "no change for 13 hours in state 'pending'" in message
    assert "no candidates" in message
    assert f"{still.server.url}/cache/jedilog/" in message


async def test_progress_is_a_change_too(still: PandaPlace, driver: PandaDriver) -> None:
    order = still.order()
    task = still.submit_outside(order, nFiles=2, pfnList=["a", "b"])
    rules = [still.server.pilot.hold(each) for each in "ab"]
    ref = JobRef(order.key, f"task:{task}")
    still.advance(11 * 3600)
    await one(driver, ref)
    still.server.pilot.forget(rules[0], still.server.world)
    still.advance(310)
    seen = await one(driver, ref)
    assert seen.progress is not None
    assert seen.progress.done == 1, "a file that is done modifies no task, but is counted"
    still.advance(2 * 3600)
    assert "no change" not in (await one(driver, ref)).message, (
        "13 hours in a state, 2 since a file"
    )
    still.advance(11 * 3600)
    assert "no change for 13 hours" in (await one(driver, ref)).message


async def test_a_paused_task_is_held_and_not_a_success_in_part(
    still: PandaPlace, driver: PandaDriver
) -> None:
    ref = outside(still, still.order())
    still.server.pilot.hold()
    still.advance(60)
    shared = Servers.of(still.host).at(still.settings(), holder := object())
    await shared.server.pause(int(ref.ref.partition(":")[2]))
    still.advance(60)
    seen = await one(driver, ref)
    assert (seen.phase, seen.outcome) == (Phase.RUNNING, None)
    assert "paused at PanDA" in seen.message
    await Servers.of(still.host).let_go(holder)


async def test_what_was_over_before_the_oldest_open_work_is_forgotten(still: PandaPlace) -> None:
    driver = await still.driver(sweep_s=1800)
    old = outside(still, still.order())
    still.advance(300)
    assert (await one(driver, old)).phase is Phase.DONE
    still.advance(3 * 86_400)
    (answer,) = await driver.submit([order := still.order()])
    fresh = JobRef(order.key, answer.ref)  # type: ignore[union-attr]
    still.server.pilot.hold()
    watch = driver._shared().watch
    for _ in range(3):
        still.advance(1801)
        assert (await one(driver, fresh)).phase is Phase.RUNNING
    tasks = await watch.tasks(still.host.now())
    assert tasks.get(int(old.ref.partition(":")[2])) is None
    assert len(tasks.beginning("cmd_dp2_")) == 1
    assert still.asked(lambda each: each == SINCE)
    await driver.stop()


async def test_a_task_that_the_looks_do_not_reach_is_asked_for_by_itself(
    still: PandaPlace, driver: PandaDriver
) -> None:
    """As one that ended while its facility was away, longer ago than anybody else's work."""
    ref = outside(still, still.order())
    still.advance(300)
    watch = driver._shared().watch
    await watch.tasks(still.host.now())
    still.advance(40 * 60)
    tasks = await watch.tasks(still.host.now())
    tasks.drop([int(ref.ref.partition(":")[2])])
    watch._from = 0
    assert (await one(driver, ref)).phase is Phase.DONE
