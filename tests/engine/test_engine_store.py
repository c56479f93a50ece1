"""The store under the engine: full, locked, slow, refusing; and restarts at any moment."""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Iterator

import pytest
from engine_house import HERE, THERE, House, refused, step, until
from history import all_events, check_unbroken

from cmd_daemon.engine.engine import NotAccepting
from cmd_daemon.kernel import events as ev
from cmd_daemon.store import AlreadyInUse, RowRefused, Store, StoreBusy, StoreFailing, StoreFull
from cmd_daemon.store import sqlite as dialect


def pages(house: House, most: int | None) -> None:
    """Let the database have that many pages; None for no limit. In the writer's own connection."""
    writer = house.store._dialect._writer
    count = writer.execute("PRAGMA page_count").fetchone()[0]
    limit = 2**30 if most is None else count + most
    writer.execute(f"PRAGMA max_page_count = {limit}")


@pytest.mark.only("sqlite")
async def test_a_full_disk_stops_accepting_loses_nothing_and_goes_on(house: House) -> None:
    async with house.running() as engine:
        await house.apply(start=False, one=step(300, jobs=("a", "b")))
        ident = engine.view.campaign_ids["camp"]
        await house.apply("small", one=step(1, fake={"run_s": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        await house.told()
        pages(house, 2)
        asked = asyncio.create_task(engine.ask(ev.CampaignStarted(campaign_id=ident)))
        await until(lambda: engine.writer.problem)
        words = await refused(
            engine.ask(ev.FacilityDrained(facility=THERE, reason="now")), NotAccepting
        )
        assert "full" in words
        assert "goes on by itself" in words
        called = dict(house.world.calls)
        submitted = set(house.world.attempts)
        # What was seen meanwhile is kept; nothing new shows outside before it is committed.
        house.world.end("small/one/0001/run#1")
        await until(lambda: house.world.calls["observe"] > called["observe"])
        committed = {r.name for r in await all_events(house.store) if r.to_state == "SUBMITTING"}
        for key in set(house.world.attempts) - submitted:
            campaign, one, group, job = key.partition("#")[0].split("/")
            name = f"campaigns/{campaign}/steps/{one}/groups/{group}/jobs/{job}"
            assert name in committed, f"{key} went outside without a committed intent"
        pages(house, None)
        await house.reach("ACCEPTED")
        await house.reach("ACCEPTED", "small")
        assert not engine.writer.problem
        if not asked.done():
            await asked
        await engine.ask(ev.FacilityDrained(facility=THERE))
        await house.check("camp", "small")
    house.ran_once(601)


@pytest.mark.only("sqlite")
async def test_a_locked_database_is_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "BUSY_TIMEOUT_S", 0.05)
    async with house.running() as engine:
        ident = await house.apply(start=False, one=step(5))
        other = sqlite3.connect(house.root / "cmd.db", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            asked = asyncio.create_task(engine.ask(ev.CampaignStarted(campaign_id=ident)))
            await until(lambda: engine.writer.problem)
            assert "locked" in engine.writer.problem
            assert "locked" in await refused(
                engine.ask(ev.CampaignPaused(campaign_id=ident)), NotAccepting
            )
            assert not asked.done(), "answered before the commit"
            assert house.world.ledger() == {}
            other.execute("ROLLBACK")
        await asked
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(5)


@pytest.mark.parametrize("error", [StoreFull, StoreBusy, StoreFailing])
async def test_a_store_that_fails_now_and_then(house: House, error: type[Exception]) -> None:
    dice = random.Random(1)

    def fail(point: str) -> None:
        if point == "before-commit" and dice.random() < 0.3:
            raise error("not now")

    house.on_commit = fail
    async with house.running():
        for _ in range(50):
            with contextlib.suppress(NotAccepting):
                await house.apply(one=step(40, jobs=("a", "b")), two=step(5, "one", at=THERE))
                break
            await asyncio.sleep(0)
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(85, *house.worlds.values())


async def test_a_store_that_refuses_a_row_ends_the_engine(house: House) -> None:
    """Going on would be ahead of the truth for ever; a restart reads it back."""
    fails = True

    def fail(point: str) -> None:
        if point == "before-commit" and fails and len(house.world.attempts) >= 3:
            raise RowRefused("a fault of ours")

    house.on_commit = fail
    async with house.running(checked=False):
        await house.apply(one=step(20, jobs=("a", "b")))
        await until(lambda: house.ended.done())
        assert house.ended.exception() is not None
    fails = False
    async with house.running():
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(40)


async def test_a_second_engine_on_the_same_database_is_refused(house: House) -> None:
    async with house.running():
        with pytest.raises(AlreadyInUse):
            await Store.open(house.url, clock=house.clock.now)


def _moments() -> Iterator[int]:
    """How many commits an engine lives before it is stopped dead."""
    dice = random.Random(7)
    yield from range(1, 8)
    yield from sorted(dice.sample(range(8, 60), 8))


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
@pytest.mark.parametrize("moment", list(_moments()))
async def test_an_engine_that_dies_at_a_commit(house: House, moment: int, point: str) -> None:
    """A new engine over the same store and the same world: nothing lost, nothing done twice."""
    left = moment
    house.limits[HERE] = 4

    def die(at: str) -> None:
        nonlocal left
        if at == point:
            left -= 1
            if left <= 0:
                raise RowRefused("died here")

    house.on_commit = die
    house.world.lose_answers = moment % 2 == 0
    fake = {"run_s": 1.0}
    async with house.running(checked=False) as engine:
        asking = asyncio.create_task(
            house.apply(one=step(6, jobs=("a", "b"), fake=fake), two=step(2, "one", at=THERE))
        )
        await until(lambda: house.ended.done() or "camp" in engine.view.campaign_ids)
        await until(lambda: house.ended.done() or house.state() == "ACCEPTED")
        asking.cancel()
    house.on_commit = None
    house.world.lose_answers = False
    async with house.running() as engine:
        if "camp" not in engine.view.campaign_ids:
            await house.apply(one=step(6, jobs=("a", "b"), fake=fake), two=step(2, "one", at=THERE))
        await house.reach("ACCEPTED")
        await house.check()
        check_unbroken(await house.told())
    house.ran_once(14, *house.worlds.values())


@pytest.mark.parametrize("seed", range(8))
async def test_engines_stopped_again_and_again(house: House, seed: int) -> None:
    dice = random.Random(seed)
    house.limits[HERE] = 3
    house.world.lose_answers = bool(seed % 2)
    policies = {
        "one": step(8, jobs=("a", "b"), fake={"run_s": 1.5}),
        "two": step(3, "one", at=THERE, fake={"ok": seed % 3 > 0}),
    }
    async with house.running(checked=False):
        await house.apply(**policies)
    for _ in range(12):
        turns = dice.randrange(1, 60)
        async with house.running(checked=False):
            for _ in range(turns):
                await asyncio.sleep(0.001)  # the moment of the stop is what is tried
    async with house.running():
        await until(lambda: house.state() == "ACCEPTED" or len(house.groups("HELD")) == 3)
        await house.check()
    assert all(n == 1 for w in house.worlds.values() for n in w.ledger().values())
    assert len(house.world.ledger()) == 16
