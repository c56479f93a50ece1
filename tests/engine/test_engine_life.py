"""The full life of campaigns: run, pause, cancel, hold, drain, change, and what persons decide."""

import asyncio
from dataclasses import replace

import pytest
from engine_house import HERE, THERE, House, refused, step, until

from cmd_daemon.engine import feed as feeds
from cmd_daemon.engine import splitting
from cmd_daemon.engine.requests import RequestIdReused
from cmd_daemon.hooks import ErrorClass
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.policy import ErrorRule, JobTemplate, RuleAction, SplitPlan, StepPolicy
from cmd_daemon.kernel.records import RequestRow
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.testing.world import Behaviour

RUNS_ON = {"run_s": None}
"""An attempt that runs until the test ends it."""


async def test_a_campaign_from_start_to_accepted(house: House) -> None:
    async with house.running():
        await house.apply(
            one=step(20, jobs=("prepare", "run", "tidy")),
            two=step(5, "one", at=THERE),
        )
        await house.reach("ACCEPTED")
        records = await house.check()
    house.ran_once(65, *house.worlds.values())
    moves = [r.to_state for r in records if r.name.endswith("one/groups/0001/jobs/run")]
    assert moves[-4:] == ["READY", "SUBMITTING", "RUNNING", "SUCCEEDED"]
    ended = max(r.seq for r in records if "/steps/one/" in r.name and r.kind == "job")
    began = min(r.seq for r in records if "/steps/two/" in r.name)
    assert began > ended, "a step began before the one it comes after had ended"


async def test_a_draft_waits_to_be_started(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(start=False, one=step(2))
        assert house.state() == "DRAFT"
        assert house.world.calls["submit"] == 0
        await engine.ask(ev.CampaignStarted(campaign_id=ident))
        await house.reach("ACCEPTED")
        assert "final" in await refused(engine.ask(ev.CampaignStarted(campaign_id=ident)), Refused)


async def test_slots_are_never_exceeded(house: House) -> None:
    house.limits[HERE] = 3
    async with house.running() as engine:
        await house.apply(one=step(10, fake=RUNS_ON))
        lane = engine.lanes.lanes[HERE, "fake"]
        for ended in range(10):
            await until(lambda: len(house.jobs("RUNNING")) == min(3, 10 - ended))  # noqa: B023
            assert len(lane.flying) <= 3
            alive = [a for a in house.world.attempts.values() if not house.world.over(a)]
            assert len(alive) <= 3
            house.world.end(alive[0].key)
            await until(lambda: house.counts("one").get("SUCCEEDED", 0) == ended + 1)  # noqa: B023
        await house.reach("ACCEPTED")
    house.ran_once(10)


async def test_pause_lets_outside_work_end_and_resume_goes_on(house: House) -> None:
    """Where the driver cannot pause it."""
    house.commands[HERE] = ()
    house.limits[HERE] = 2
    async with house.running() as engine:
        ident = await house.apply(one=step(6, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 2)
        await engine.ask(ev.CampaignPaused(campaign_id=ident, reason="lunch"))
        assert house.state() == "RUNNING", "it is PAUSING: something is outside"
        for key in list(house.world.attempts):
            house.world.end(key)
        await house.reach("PAUSED")
        assert len(house.world.attempts) == 2, "something was submitted in the pause"
        house.world.behaviours[""] = Behaviour()
        await engine.ask(ev.CampaignResumed(campaign_id=ident))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(6)


async def test_a_pause_outlives_a_restart(house: House) -> None:
    house.commands[HERE] = ()
    async with house.running() as engine:
        ident = await house.apply(one=step(4, fake=RUNS_ON), two=step(2, "one"))
        await until(lambda: len(house.jobs("RUNNING")) == 4)
        await engine.ask(ev.CampaignPaused(campaign_id=ident))
        for key in list(house.world.attempts):
            house.world.end(key)
        await house.reach("PAUSED")
    async with house.running() as engine:
        assert house.state() == "PAUSED"
        await engine.ask(ev.CampaignResumed(campaign_id=ident))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(6)


async def test_cancel_ends_what_is_outside(house: House) -> None:
    house.limits[HERE] = 4
    async with house.running() as engine:
        ident = await house.apply(one=step(1200, fake=RUNS_ON), two=step(3, "one"))
        await until(lambda: len(house.jobs("RUNNING")) == 4)
        await engine.ask(ev.CampaignCancelled(campaign_id=ident, reason="wrong stack"))
        await house.reach("CANCELLED")
        await house.check()
        assert not engine.view.groups
    assert all(a.cancelled for a in house.world.attempts.values())
    assert len(house.world.attempts) == 4


async def test_cancel_of_an_attempt_whose_submit_answer_was_lost(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(one=step(3, fake={**RUNS_ON, "lose_answer": True}))
        await until(lambda: len(house.world.attempts) == 3)
        await engine.ask(ev.CampaignCancelled(campaign_id=ident))
        await house.reach("CANCELLED")
        await house.check()
    assert all(a.cancelled for a in house.world.attempts.values()), "work was left behind outside"


async def test_hold_and_release(house: House) -> None:
    async with house.running() as engine:
        await house.apply(one=step(1, jobs=("first", "second"), fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        (group,) = engine.view.groups
        await engine.ask(ev.GroupHeld(group_id=group, reason="look first"))
        house.world.behaviours[""] = Behaviour()
        house.world.end("camp/one/0001/first#1")
        await until(lambda: engine.view.groups[group].state == "HELD")
        assert list(house.world.attempts) == ["camp/one/0001/first#1"]
        await engine.ask(ev.GroupReleased(group_id=group))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(2)


async def test_failures_are_retried_then_held_then_a_person_decides(house: House) -> None:
    async with house.running() as engine:
        await house.apply(one=step(3, fake={"ok": False, "message": "no flat"}))
        await until(lambda: len(house.groups("HELD")) == 3)
        house.ran_once(9)
        first, second, third = sorted(house.groups("HELD"))
        assert "no flat" in (engine.view.groups[first].reason or "")
        house.world.behaviours[""] = Behaviour()
        await engine.ask(ev.GroupRetried(group_id=first))
        await engine.ask(ev.GroupRejected(group_id=second, reason="lost"))
        await engine.ask(ev.GroupRetried(group_id=third))
        await until(lambda: not engine.view.groups)
        records = await house.check()
        await until(lambda: house.state() in ("ACCEPTED", "FAILED"))
    house.ran_once(11)
    assert {r.to_state for r in records if r.kind == "group"} >= {"ACCEPTED", "REJECTED"}


async def test_an_error_rule_fails_the_group_at_once(house: House) -> None:
    rule = ErrorRule(RuleAction.FAIL, message="never")
    async with house.running():
        policy = step(1, errors=(rule,), fake={"ok": False, "message": "this never works"})
        await house.apply(one=policy)
        await house.reach("FAILED")
        await house.check()
    house.ran_once(1)


async def test_a_breakpoint_waits_for_a_signature(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply(
            one=step(2), look=StepPolicy(after=("one",), breakpoint="look"), two=step(2, "look")
        )
        steps = engine.view.steps_of[ident]
        await until(lambda: engine.view.steps[steps["look"]].state == "REVIEW")
        assert len(house.world.attempts) == 2
        await engine.ask(ev.StepSigned(step_id=steps["look"], actor="me", reason="fine"))
        await house.reach("ACCEPTED")
    house.ran_once(4)


async def test_a_drained_facility_takes_nothing_new(house: House) -> None:
    house.limits[HERE] = 1
    async with house.running() as engine:
        await house.apply(one=step(4, jobs=("a", "b"), fake=RUNS_ON), two=step(2, at=THERE))
        await until(lambda: len(house.jobs("RUNNING")) == 1 and len(house.groups("PLACED")) == 3)
        await engine.ask(ev.FacilityDrained(facility=HERE, reason="power"))
        await until(lambda: house.counts("two").get("SUCCEEDED") == 2)
        house.world.behaviours[""] = Behaviour()
        (key,) = house.world.attempts
        house.world.end(key)
        # The group that has begun is finished, the others wait.
        await until(lambda: house.counts("one").get("SUCCEEDED") == 2)
        await asyncio.wait_for(engine.writer.flushed(), 5)
        assert len(house.world.attempts) == 2
    async with house.running() as engine:
        assert HERE in engine.lanes.drained, "the drain did not outlive the restart"
        await engine.ask(ev.FacilityDrained(facility=HERE, drained=False))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(8)


async def test_waiting_jobs_survive_an_interrupted_admission(house: House) -> None:
    """What a drained facility's queue held is still there when the writer was full in between."""
    async with house.running() as engine:
        await engine.ask(ev.FacilityDrained(facility=HERE))
        await house.apply(one=step(5))
        await until(lambda: len(house.groups("PLACED")) == 5)
        lane = engine.lanes.lanes[HERE, "fake"]
        queued = list(lane.queue)
        begun = engine.view.groups[engine.view.jobs[queued[-1]].group_id]
        begun.state = type(begun.state).RUNNING  # as a group that has begun before the drain
        engine.lanes.touch(lane)
        admissions = engine.lanes.admissions(house.clock.now())
        next(admissions)
        begun.state = type(begun.state).PLACED
        admissions.close()
        assert sorted([*lane.queue, queued[-1]]) == sorted(queued)
        lane.queue.append(queued[-1])
        engine.lanes._queued[queued[-1]] = lane
        await engine.ask(ev.FacilityDrained(facility=HERE, drained=False))
        await house.reach("ACCEPTED")
    house.ran_once(5)


async def test_a_new_version_while_running(house: House) -> None:
    async with house.running():
        await house.apply(one=step(2, fake=RUNS_ON), two=step(2, "one", fake={"ok": False}))
        await until(lambda: len(house.jobs("RUNNING")) == 2)
        await house.apply(one=step(2, fake=RUNS_ON), two=step(3, "one"), three=step(1, "two"))
        for key in list(house.world.attempts):
            house.world.end(key)
        await house.reach("ACCEPTED")
        await house.check()
        row = await house.store.get_campaign("camp")
        assert row is not None
        assert row.campaign.file_version == 2
    house.ran_once(6)


async def test_a_new_version_while_splitting_wins(house: House) -> None:
    def gated(prefix: str) -> StepPolicy:
        return step(split=SplitPlan("gated", {"prefix": prefix}))

    async with house.running():
        await house.apply(one=gated("old"))
        await until(lambda: house.gated.asked == 1)
        await house.apply(one=gated("new"))
        house.gated.gate.set()
        await house.reach("ACCEPTED")
    assert list(house.world.ledger()) == ["camp/one/new0/run#1"]


async def test_a_slow_split_holds_up_nobody_else(house: House) -> None:
    async with house.running():
        await house.apply("slow", one=step(split=SplitPlan("gated", {"count": 2})))
        await until(lambda: house.gated.asked == 1)
        await house.apply("quick", one=step(3))
        await house.reach("ACCEPTED", "quick")
        assert house.state("slow") == "RUNNING"
        house.gated.gate.set()
        await house.reach("ACCEPTED", "slow")
        await house.check("slow", "quick")


async def test_a_restart_in_the_middle_of_a_split(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "CHUNK", 2)
    async with house.running():
        await house.apply(one=step(split=SplitPlan("gated", {"count": 3})))
        await until(lambda: house.gated.asked == 1)
    house.gated.gate.set()
    async with house.running():
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(3)


async def test_a_held_step_with_groups_is_released_after_a_restart(house: House) -> None:
    """The names of the groups made before are known again: none is made twice."""
    async with house.running() as engine:
        house.gated.gate.clear()
        ident = await house.apply(one=step(split=SplitPlan("gated", {"count": 3})))
        step_id = engine.view.steps_of[ident]["one"]
        await until(lambda: house.gated.asked == 1)
        engine.post(
            ev.StepSplit(step_id=step_id, groups=(ev.NewGroup("g0", '{"name": "g0"}'),), last=False)
        )
        engine.post(
            ev.SplitFailed(step_id=step_id, error_class=ErrorClass.PERMANENT, message="half way")
        )
        await until(lambda: engine.view.steps[step_id].state == "HELD")
    house.gated.gate.set()
    async with house.running() as engine:
        await engine.ask(ev.StepReleased(step_id=step_id))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(3)


async def test_the_same_request_is_done_once_and_another_is_refused(house: House) -> None:
    def row(digest: str) -> RequestRow:
        return RequestRow("r1", "Pause", digest, b"", house.clock.now())

    async with house.running() as engine:
        ident = await house.apply(one=step(1, fake=RUNS_ON))
        await until(lambda: house.jobs("RUNNING"))
        event = ev.CampaignPaused(campaign_id=ident, request_id="r1")
        answers = await asyncio.gather(*(engine.ask(event, row("d")) for _ in range(20)))
        assert all(answer is answers[0] for answer in answers)
        assert await engine.ask(event, row("d")) is answers[0]
        await refused(engine.ask(event, row("other")), RequestIdReused)
        # What was refused may be asked again under its id.
        bad = RequestRow("r2", "Start", "d", b"", house.clock.now())
        started = ev.CampaignStarted(campaign_id=ident)
        await refused(engine.ask(started, bad), Refused)
        await refused(engine.ask(started, bad), Refused)
        assert len([r for r in await house.told() if r.cause == "CampaignPaused"]) == 1


async def test_the_feed_goes_on_from_the_store_past_the_rings_edge(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "KEPT", 50)
    seen: list[int] = []
    async with house.running() as engine:

        async def read() -> None:
            while True:
                batch = await engine.feed.after(seen[-1] if seen else 0, 7)
                seen.extend(r.seq for r in batch)
                if not batch:
                    await engine.feed.wait(seen[-1] if seen else 0, 10)

        reading = asyncio.create_task(read())
        await house.apply(one=step(60))
        await house.reach("ACCEPTED")
        records = await house.told()
        await until(lambda: len(seen) >= len(records))
        reading.cancel()
        late = [r.seq for r in await engine.feed.after(0, 1000)]
        assert late[:100] == list(range(1, 101))
    assert seen == list(range(1, len(records) + 1))


async def test_nothing_is_called_outside_before_its_commit(house: House) -> None:
    """Each attempt that the world has seen was committed as an intent before."""
    committed: list[str] = []
    early: list[str] = []
    async with house.running() as engine:
        done = engine.writer._committed

        def note(taken, seconds):  # type: ignore[no-untyped-def]
            committed.extend(taken.batch.effects)
            done(taken, seconds)

        engine.writer._committed = note
        run = house.world.run

        def running(order, behaviour):  # type: ignore[no-untyped-def]
            if f"{order.key}:submit" not in committed:
                early.append(order.key)
            return run(order, behaviour)

        house.world.run = running  # type: ignore[method-assign]
        await house.apply(one=step(30, jobs=("a", "b")))
        await house.reach("ACCEPTED")
    assert early == []
    house.ran_once(60)


async def test_an_order_that_cannot_be_made_holds_its_group_only(house: House) -> None:
    collect = JobTemplate("collect", JobKind.COLLECT)
    async with house.running() as engine:
        await house.apply(one=step(2))
        await house.apply("bad", one=replace(step(1), jobs=(collect,)))
        await house.reach("ACCEPTED")
        await until(lambda: len(house.groups("HELD")) == 1)
        (group,) = house.groups("HELD")
        assert "no order could be made" in (engine.view.groups[group].reason or "")
