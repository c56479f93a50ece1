"""Commands carried to attempts that are outside: a campaign's pause, and what persons want of single ones."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from engine_house import HERE, THERE, House, refused, step, until

from cmd_daemon.hooks import Command, Control, ControlAnswer, DriverError, ErrorClass
from cmd_daemon.hooks.ports import Accepted, Host, JobOrder
from cmd_daemon.kernel import commands
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.commands import Value
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.testing.fake_driver import FakeDriver

RUNS_ON = {"run_s": None}
PAUSE, RESUME = Command.PAUSE, Command.RESUME


async def say(house: House, *wants: tuple[Command, Value], number: int = 0) -> None:
    """A person's commands to one of the running jobs."""
    job = sorted(house.jobs("RUNNING"), key=lambda j: j.id)[number]
    event = ev.JobCommanded(job_id=job.id, attempt=job.attempt, wants=wants, actor="pilot")
    await house.engine.ask(event)


def end_all(house: House) -> None:
    """Everything outside ends well."""
    for world in house.worlds.values():
        for key in list(world.attempts):
            world.end(key)


def standings(house: House) -> set[str]:
    """How the running attempts stand."""
    return {str(job.standing) for job in house.jobs("RUNNING")}


def told_of(house: House, command: Command) -> list[str]:
    """Keys of attempts that did a command, in both worlds."""
    return [
        key
        for world in house.worlds.values()
        for key, what, _ in world.commanded
        if what is command
    ]


async def test_a_pause_pauses_what_is_outside_in_sets_and_a_resume_resumes_it(house: House) -> None:
    house.limits[HERE] = house.limits[THERE] = 300
    house.commands[THERE] = ()
    async with house.running() as engine:
        ident = await house.apply(
            one=step(400, fake=RUNS_ON), two=step(3, at=THERE, fake=RUNS_ON), three=step(2, "one")
        )
        await until(lambda: len(house.jobs("RUNNING")) == 303)
        await engine.ask(ev.CampaignPaused(campaign_id=ident, reason="lunch"))
        await until(lambda: engine.view.campaigns[ident].paused == 300)
        assert house.state() == "RUNNING", "what cannot be paused runs on"
        for key in list(house.worlds[THERE].attempts):
            house.worlds[THERE].end(key)
        await house.reach("PAUSED")
        assert house.worlds[THERE].calls["control"] == 0
        assert house.world.calls["control"] <= 3, "one question for all of a set"
        assert len(house.world.attempts) == 300, "something was submitted in the pause"
        await engine.ask(ev.CampaignResumed(campaign_id=ident))
        await until(lambda: standings(house) == {"GOING"})
        assert len(told_of(house, PAUSE)) == len(set(told_of(house, RESUME))) == 300
        while house.state() != "ACCEPTED":
            end_all(house)
            await asyncio.sleep(0.01)
        records = await house.check()
    house.ran_once(405, *house.worlds.values())
    done = [r.reason for r in records if r.cause == "CommandAnswered"]
    assert sorted(set(done)) == ["pause is done", "resume is done"]
    assert len(done) == 600


class GatedSubmit(FakeDriver):
    """A fake driver that answers a submit when the test says so."""

    gate: asyncio.Event

    async def submit(self, orders: Sequence[JobOrder]) -> Any:
        answers = await super().submit(orders)
        await self.gate.wait()
        return answers


async def test_what_is_taken_after_the_pause_was_wanted_is_paused(house: House) -> None:
    gate = asyncio.Event()

    def make(host: Host) -> FakeDriver:
        driver = GatedSubmit(house.world, HERE, host, poll_s=1.0)
        driver.gate = gate
        return driver

    house.drivers[HERE] = make
    async with house.running() as engine:
        ident = await house.apply(one=step(4, fake=RUNS_ON))
        await until(lambda: len(house.world.attempts) == 4)
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        assert house.state() == "RUNNING"
        gate.set()
        await house.reach("PAUSED")
        assert len(told_of(house, PAUSE)) == 4
        await engine.ask(ev.CampaignResumed(campaign_id=ident))
        await until(lambda: standings(house) == {"GOING"})
        end_all(house)
        await house.reach("ACCEPTED")
    house.ran_once(4)


async def test_a_command_that_was_not_done_is_asked_for_after_a_restart(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(one=step(3, fake=RUNS_ON | {"balks": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 3)
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        await until(lambda: len(house.world.asked) == 3)
    for attempt in house.world.attempts.values():
        attempt.behaviour = replace(attempt.behaviour, balks=0)
    assert house.world.commanded == []
    async with house.running(checked=False) as engine:  # it ends in the middle of the resume
        await house.reach("PAUSED")
        assert len(told_of(house, PAUSE)) == 3
        await engine.ask(ev.CampaignResumed(campaign_id=ident))
    async with house.running():
        await until(lambda: standings(house) == {"GOING"})
        end_all(house)
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(3)


async def test_a_command_after_a_restart_is_not_taken_for_the_one_before(house: House) -> None:
    """They are told apart by their numbers, whatever became of the first one's call."""
    async with house.running():
        await house.apply(one=step(1, fake=RUNS_ON | {"balks": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        await say(house, (Command.PRIORITY, 5), (Command.QUEUE, "high"))
    async with house.running(checked=False):
        former = commands.read(house.jobs("RUNNING")[0].commands)
        await say(house, (Command.PRIORITY, 7), (Command.QUEUE, "low"))
        later = commands.read(house.jobs("RUNNING")[0].commands)
    assert len(former) == len(later) == 2
    assert min(w.number for w in later) > max(w.number for w in former)


async def test_a_sweep_that_was_cut_off_is_made_after_the_restart(house: House) -> None:
    """As if the daemon had died between the commit of a wish and its sweep: the wish is stored, and no
    attempt was told."""
    async with house.running() as engine:
        ident = await house.apply(one=step(3, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 3)
        engine.sweeps.outside = lambda campaigns: None  # type: ignore[method-assign]
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
    async with house.running() as engine:
        await house.reach("PAUSED")
        engine.sweeps.outside = lambda campaigns: None  # type: ignore[method-assign]
        await engine.ask(ev.CampaignResumed(campaign_id=ident))
    async with house.running():
        await until(lambda: standings(house) == {"GOING"})
        assert len(told_of(house, RESUME)) == 3


async def test_one_command_at_a_time_in_order_and_the_newest_of_a_kind(house: House) -> None:
    async with house.running():
        await house.apply(one=step(1, fake=RUNS_ON | {"balks": 1}))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        await say(house, (Command.QUEUE, "high"), (Command.MEMORY, 10**9))
        for priority in range(5):
            await say(house, (Command.PRIORITY, priority))
        await until(lambda: not house.jobs("RUNNING")[0].commands)
        (key,) = house.world.attempts
        assert house.world.commanded == [
            (key, Command.QUEUE, "high"),
            (key, Command.MEMORY, 10**9),
            (key, Command.PRIORITY, 4),
        ]
        records = await house.check()
    assert [r.reason for r in records if r.cause == "CommandAnswered"] == [
        "queue high is done",
        "memory 1 GB is done",
        "priority 4 is done",
    ]


class Watchful(FakeDriver):
    """A fake driver that looks into the outbox when it is called."""

    seen: list[tuple[str, bool]]
    database: str

    async def control(self, controls: Sequence[Control]) -> Sequence[ControlAnswer]:
        with sqlite3.connect(self.database) as connection:
            for each in controls:
                row = connection.execute(
                    "SELECT j.commands FROM effects e JOIN jobs j ON j.id = e.job_id WHERE e.key = ?",
                    (f"{each.key}:{each.command}",),
                ).fetchone()
                queue = commands.read(row[0]) if row is not None else ()
                intended = bool(queue) and queue[0].value == each.value
                self.seen.append((f"{each.command} {each.value}", intended))
        connection.close()
        return await super().control(controls)


@pytest.mark.only("sqlite")  # the driver reads the database's file beside the daemon
async def test_no_command_is_given_before_its_intent_is_committed(house: House) -> None:
    made: list[Watchful] = []

    def make(host: Host) -> FakeDriver:
        driver = Watchful(house.world, HERE, host, poll_s=1.0)
        driver.seen, driver.database = [], str(house.root / "cmd.db")
        made.append(driver)
        return driver

    house.drivers[HERE] = make
    async with house.running():
        await house.apply(one=step(5, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 5)
        for round_ in range(20):
            wants = [say(house, (Command.PRIORITY, round_), number=n) for n in range(5)]
            await asyncio.gather(*wants, say(house, (PAUSE, None)), say(house, (RESUME, None)))
        await until(lambda: not any(j.commands for j in house.jobs("RUNNING")))
    assert len(made[0].seen) > 5
    assert all(intended for _, intended in made[0].seen), made[0].seen


async def test_a_command_is_given_up_after_its_time(house: House) -> None:
    house.command_s = 60.0
    async with house.running():
        await house.apply(one=step(1, fake=RUNS_ON | {"balks": None, "refuses": ["queue"]}))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        await say(house, (Command.PRIORITY, 5), (Command.QUEUE, "high"))
        await until(lambda: not house.jobs("RUNNING")[0].commands)
        records = await house.check()
    ends = [
        r.reason for r in records if "priority 5 was" in r.reason or "queue high was" in r.reason
    ]
    assert ends[0].startswith("priority 5 was given up after 60 s; last: asked for, not seen yet")
    assert ends[1] == "queue high was refused: the fake system does not queue"
    assert len(ends) == 2
    assert house.world.commanded == []


async def test_a_control_that_hangs_holds_up_nothing_else(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(one=step(2, fake=RUNS_ON | {"hang": "control"}))
        await until(lambda: len(house.jobs("RUNNING")) == 2)
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        await until(lambda: house.world.calls["control"])
        there = await house.apply("there", one=step(3, at=THERE, fake=RUNS_ON))
        await house.apply("here", one=step(5))
        await house.reach("ACCEPTED", "here")
        await until(lambda: len(house.jobs("RUNNING")) == 5)
        await engine.ask(ev.CampaignPaused(campaign_id=there))
        await house.reach("PAUSED", "there")
        assert house.state() == "RUNNING"


async def test_an_outage_is_waited_for_by_the_breaker(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(one=step(3, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 3)
        house.world.throttled = True
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        lane = engine.lanes.lanes[HERE, "fake"]
        await until(lambda: lane.breaker.state(house.clock.now()) == "open")
        assert house.state() == "RUNNING"
        house.world.throttled = False
        await house.reach("PAUSED")
        await house.check()


async def test_lost_answers_are_asked_for_again(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(one=step(3, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 3)
        house.world.lose_answers = True
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        await until(lambda: len(house.world.commanded) == 3)
        house.world.lose_answers = False
        await house.reach("PAUSED")
    assert len(told_of(house, PAUSE)) == 3, "what had taken effect was not done again"


async def raises(controls: Any) -> Any:
    raise RuntimeError("boom \ud800")


async def exits(controls: Any) -> Any:
    raise SystemExit("usage: control [-h]")


async def cancels_itself(controls: Any) -> Any:
    raise asyncio.CancelledError


async def classless(controls: Any) -> Any:
    raise DriverError("whatever", "an error of no class")  # type: ignore[arg-type]


def answering(answer: Any) -> Any:
    """A call that answers so; a function gets what it was asked."""

    async def call(controls: Any) -> Any:
        return answer(controls) if callable(answer) else answer

    return call


MISCHIEF = {
    "raises": raises,
    "exits": exits,
    "cancels itself": cancels_itself,
    "an error of no class": classless,
    "nothing": answering(None),
    "a number": answering(7),
    "unknown keys": answering([ControlAnswer("nobody", True), Accepted("x", "y")]),
    "no truth": answering(lambda cs: [ControlAnswer(c.key, "yes") for c in cs]),  # type: ignore[arg-type]
    "words that cannot be stored": answering(
        lambda cs: [ControlAnswer(c.key, False, "odd", "\ud800\0") for c in cs]  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("mischief", MISCHIEF)
async def test_mischief_in_control_is_asked_again_and_hurts_only_its_own(
    house: House, mischief: str
) -> None:
    class Bad(FakeDriver):
        bad = True

        async def control(self, controls: Sequence[Control]) -> Any:
            self.world.calls["control"] += 1
            if self.bad:
                return await MISCHIEF[mischief](controls)
            return await super().control(controls)

    made: list[Bad] = []

    def make(host: Host) -> FakeDriver:
        made.append(Bad(house.world, HERE, host, poll_s=1.0))
        return made[0]

    house.drivers[HERE] = make
    async with house.running() as engine:
        ident = await house.apply(one=step(2, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 2)
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        await until(lambda: house.world.calls["control"] >= 2)
        await house.apply("other", one=step(3, at=THERE))
        await house.reach("ACCEPTED", "other")
        assert house.state() == "RUNNING"
        made[0].bad = False
        await house.reach("PAUSED")
        await house.check("camp", "other")
    assert len(told_of(house, PAUSE)) == 2


async def test_a_refusal_in_words_that_cannot_be_stored(house: House) -> None:
    class Rude(FakeDriver):
        async def control(self, controls: Sequence[Control]) -> Any:
            no = ErrorClass.PERMANENT
            return [ControlAnswer(c.key, False, no, "no \ud800\0" + "x" * 10**5) for c in controls]

    house.drivers[HERE] = lambda host: Rude(house.world, HERE, host, poll_s=1.0)
    async with house.running():
        await house.apply(one=step(1, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        await say(house, (Command.QUEUE, "high"))
        await until(lambda: house.jobs("RUNNING")[0].reason)
        await house.check()
        assert str(house.jobs("RUNNING")[0].reason).startswith("queue high was refused: no ? xxx")


async def test_a_driver_that_names_nonsense_takes_no_commands(house: House) -> None:
    def make(host: Host) -> FakeDriver:
        driver = FakeDriver(house.world, HERE, host, poll_s=1.0)
        driver.commands = frozenset({"dance"})  # type: ignore[arg-type]
        return driver

    house.drivers[HERE] = make
    async with house.running():
        await house.apply(one=step(1, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        words = await refused(say(house, (PAUSE, None)), Refused)
        assert "takes no commands while a job runs" in words
        end_all(house)
        await house.reach("ACCEPTED")


async def test_a_driver_that_takes_commands_no_more_refuses_what_was_wanted(house: House) -> None:
    """The configuration changed while a command was wanted: it has an end all the same."""
    async with house.running():
        await house.apply(one=step(1, fake=RUNS_ON | {"balks": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        await say(house, (PAUSE, None))
        await until(lambda: house.world.asked)

    class Plain(FakeDriver):
        control = None  # type: ignore[assignment]

    house.drivers[HERE] = lambda host: Plain(house.world, HERE, host, poll_s=1.0)
    async with house.running():
        await until(lambda: not house.jobs("RUNNING")[0].commands)
        assert "takes no commands any more" in str(house.jobs("RUNNING")[0].reason)


async def test_a_paused_campaign_is_cancelled_and_a_paused_attempt_killed(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(one=step(3, fake=RUNS_ON))
        other = await house.apply("other", one=step(2, at=THERE, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 5)
        for campaign in (ident, other):
            await engine.ask(ev.CampaignPaused(campaign_id=campaign))
        await house.reach("PAUSED")
        await house.reach("PAUSED", "other")
        await engine.ask(ev.CampaignCancelled(campaign_id=ident))
        await house.reach("CANCELLED")
        await engine.ask(ev.FacilityKilled(facility=THERE, actor="staff", reason="smoke"))
        await until(lambda: not house.jobs("RUNNING"))
        assert house.state("other") == "PAUSED"
        assert engine.view.campaigns[other].paused == 0
        await house.check("camp", "other")
    assert all(a.cancelled for w in house.worlds.values() for a in w.attempts.values())
