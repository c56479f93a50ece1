"""Schedules at work: each time launches once, whatever happens in between."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from engine_house import DEADLINE_S, House, refused, until
from schedule_files import TEMPLATE, schedule_file

from cmd_daemon.engine.engine import Engine
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.records import Schedule, ScheduleRun
from cmd_daemon.kernel.states import FINAL_CAMPAIGN, RunOutcome
from cmd_daemon.spec import read_schedule
from cmd_daemon.store.errors import RowRefused

FIVE_MINUTES = 300 * 1_000_000


async def apply(house: House, text: str, template: str = TEMPLATE) -> None:
    """Apply a schedule file as the API does."""
    engine, now = house.engine, house.clock.now()
    from cmd_daemon.engine.files import known_to

    known = known_to(house.plugins, engine.facilities)
    plan = read_schedule(text, template, file="nightly.yaml", known=known, now=now)
    await engine.ask(
        ev.ScheduleApplied(
            schedule=plan.name,
            owner=plan.file.owner,
            cron=plan.file.cron,
            zone=plan.file.zone,
            overlap=str(plan.file.overlap),
            text=plan.text,
            template=plan.template,
            template_file=plan.file.template,
            next_at=plan.crontab.after(now),
            actor="me",
        )
    )


@pytest.fixture(autouse=True)
def stacks(house: House) -> None:
    """The weekly that the schedules look for."""
    for name, info in house.infos.items():
        house.infos[name] = type(info)(
            **{
                field: getattr(info, field)
                for field in info.__dataclass_fields__
                if field != "stacks"
            },
            stacks={"w_2026_46": "/p"},
        )


def schedule(engine: Engine) -> Schedule:
    """The schedule as decided."""
    return engine.view.schedules["nightly"]


async def runs(house: House, *outcomes: RunOutcome) -> list[ScheduleRun]:
    """The committed runs, oldest first; of these outcomes if any are given."""
    found = await house.store.schedule_runs("nightly", 1000)
    return [each for each in reversed(found) if not outcomes or each.outcome in outcomes]


async def reach(house: House, count: int, *outcomes: RunOutcome) -> list[ScheduleRun]:
    """Wait for so many runs."""
    found: list[ScheduleRun] = []

    async def enough() -> None:
        while len(found) < count:
            found[:] = await runs(house, *outcomes)
            await house.clock.wait(2.0)

    await asyncio.wait_for(enough(), DEADLINE_S)
    return found


def name_of(due: int) -> str:
    """The campaign of a time."""
    return datetime.fromtimestamp(due / 1e6, UTC).strftime("nightly-%Y%m%d-%H%M")


async def test_each_time_launches_one_campaign(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file())
        found = await reach(house, 3, RunOutcome.LAUNCHED)
        names = [name_of(each.due_at) for each in found]
        assert [each.campaigns for each in found] == [f'["{name}"]' for name in names]
        assert found[1].due_at - found[0].due_at == FIVE_MINUTES
        for name in names:
            await house.reach("ACCEPTED", name)
        campaigns = {each.name for each in engine.view.campaigns.values()}
        assert campaigns >= set(names)
        assert {each.owner for each in engine.view.campaigns.values()} == {"me"}
    launched = [r for r in await _history(house) if r.kind == "schedule" and "launched" in r.reason]
    assert {r.name for r in launched} == {"schedules/nightly"}


async def _history(house: House) -> list[Any]:
    async with house.running():
        return await house.told()


async def test_a_time_missed_while_the_daemon_was_away_launches_once_and_late(house: House) -> None:
    async with house.running():
        await apply(house, schedule_file())
        await reach(house, 1, RunOutcome.LAUNCHED)
    await house.clock.wait(1100.0)  # three times and a bit
    async with house.running() as engine:
        begun = house.clock.now()
        found = await reach(house, 2, RunOutcome.LAUNCHED)
        late = found[1]
        assert begun - late.due_at < FIVE_MINUTES, "the last of those that were missed counts"
        assert "missed" in late.reason
        await until(lambda: (schedule(engine).next_at or 0) > late.due_at)
    due = [each.due_at for each in found]
    assert len(set(due)) == len(due)


async def test_a_time_too_long_ago_is_skipped(house: House) -> None:
    async with house.running():
        await apply(house, schedule_file(cron="0 0 1 1 *"))
        former = schedule(house.engine)
        assert former.next_at is not None
        ahead = former.next_at + 2 * 3600 * 1_000_000 - house.clock.now()
    house.clock._from += ahead  # two hours after its time; one is allowed
    async with house.running():
        (run,) = await reach(house, 1)
        assert run.outcome is RunOutcome.SKIPPED
        assert "more than 1 h late" in run.reason
        assert not house.engine.view.campaigns


async def test_skip_launches_nothing_while_the_last_still_runs(house: House) -> None:
    async with house.running():
        await apply(house, schedule_file(run_s="null"))
        (first,) = await reach(house, 1, RunOutcome.LAUNCHED)
        (skipped, *_) = await reach(house, 1, RunOutcome.SKIPPED)
        assert f"{name_of(first.due_at)} of the last launch still runs" in skipped.reason
        assert len(house.engine.view.campaigns) == 1


async def test_queue_begins_when_the_last_has_ended_and_keeps_one(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file(overlap="queue", run_s="null"))
        (first,) = await reach(house, 1, RunOutcome.LAUNCHED)
        await reach(house, 2, RunOutcome.QUEUED)
        await reach(house, 1, RunOutcome.SKIPPED)
        name = name_of(first.due_at)
        await engine.ask(
            ev.CampaignCancelled(campaign_id=engine.view.campaign_ids[name], actor="me")
        )
        second = (await reach(house, 2, RunOutcome.LAUNCHED))[1]
        queued = await runs(house, RunOutcome.QUEUED)
        assert second.due_at in {each.due_at for each in queued}
        assert second.due_at not in {each.due_at for each in await runs(house, RunOutcome.SKIPPED)}


async def test_replace_cancels_the_last_and_begins(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file(overlap="replace", run_s="null"))
        first, second, *_ = await reach(house, 2, RunOutcome.LAUNCHED)
        await house.reach("CANCELLED", name_of(first.due_at))
        assert name_of(second.due_at) in engine.view.campaign_ids


async def test_a_paused_schedule_launches_nothing_until_it_is_resumed(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file())
        await engine.ask(ev.SchedulePaused(schedule="nightly", actor="me", reason="holidays"))
        await house.clock.wait(900.0)
        assert await runs(house) == []
        assert "paused already" in await refused(
            engine.ask(ev.SchedulePaused(schedule="nightly", actor="me")), Refused
        )
        soon = house.clock.now() // FIVE_MINUTES * FIVE_MINUTES + FIVE_MINUTES
        await engine.ask(ev.ScheduleResumed(schedule="nightly", next_at=soon, actor="me"))
        (run, *_) = await reach(house, 1, RunOutcome.LAUNCHED)
        assert run.due_at >= soon


async def test_a_removed_schedule_is_gone_and_can_come_back(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file())
        await engine.ask(ev.ScheduleRemoved(schedule="nightly", actor="me"))
        await house.clock.wait(400.0)
        assert await runs(house) == []
        for event in (ev.SchedulePaused, ev.ScheduleRemoved):
            words = await refused(engine.ask(event(schedule="nightly", actor="me")), Refused)
            assert "no such schedule" in words
        await apply(house, schedule_file())
        assert schedule(engine).version == 3
        await reach(house, 1, RunOutcome.LAUNCHED)


async def test_by_hand_it_launches_now_and_keeps_its_times(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file(cron="0 0 1 1 *"))
        before = schedule(engine).next_at
        event = await engine.scheduling.now(schedule(engine), "pilot1", "try it", "")
        await engine.ask(event)
        (run,) = await reach(house, 1, RunOutcome.LAUNCHED)
        assert (run.actor, run.reason) == ("pilot1", "try it")
        assert schedule(engine).next_at == before
        await until(lambda: all(c.state in FINAL_CAMPAIGN for c in engine.view.campaigns.values()))


async def test_what_cannot_be_launched_is_refused_with_the_problem(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file())
        del engine.facilities["THERE"]
        engine.facilities["HERE"] = type(engine.facilities["HERE"])(
            "HERE", 10, 2**36, 8, 86_400.0, {"main": "/r"}, {"v30_0_0": "/p"}
        )
        (run, *_) = await reach(house, 1, RunOutcome.REFUSED)
        assert "no stack matches 'w_*' at HERE" in run.reason
        assert not engine.view.campaigns
        event = await engine.scheduling.now(schedule(engine), "me", "", "")
        assert "no stack matches" in await refused(engine.ask(event), Refused)


async def test_a_name_that_is_taken_is_no_launch(house: House) -> None:
    async with house.running() as engine:
        await apply(house, schedule_file())
        await reach(house, 1, RunOutcome.LAUNCHED)
        first = await engine.scheduling.now(schedule(engine), "me", "", "")
        names = [each.name for each in first.campaigns]
        if names:  # in the minute of its time the name is taken already
            await engine.ask(first)
        again = await engine.scheduling.now(schedule(engine), "me", "", "")
        if again.problem:
            assert "already" in again.problem


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
async def test_a_daemon_that_dies_at_the_launch_launches_it_once(house: House, point: str) -> None:
    """The launch and the note of it are one commit: it is there with both, or with neither."""
    dead = False

    def die(now: str) -> None:
        nonlocal dead
        view = house.engine.view
        if not dead and now == point and any(n.startswith("nightly-") for n in view.campaign_ids):
            dead = True
            raise RowRefused("died here")

    async with house.running():
        await apply(house, schedule_file())
    house.on_commit = die
    with contextlib.suppress(AssertionError):
        async with house.running(checked=False):
            await until(lambda: house.ended.done())
    assert dead
    house.on_commit = None
    async with house.running() as engine:
        found = await reach(house, 2, RunOutcome.LAUNCHED)
        due = [each.due_at for each in found]
        assert len(set(due)) == len(due)
        names = [name_of(each) for each in due]
        assert len(set(names)) == len(names)
        for name in names:
            await house.reach("ACCEPTED", name)
        first = engine.view.campaign_ids[names[0]]
        assert sum(c.name == names[0] for c in engine.view.campaigns.values()) == 1
        assert first
    house.ran_once(sum(len(w.ledger()) for w in house.worlds.values()), *house.worlds.values())
