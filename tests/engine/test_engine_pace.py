"""Nobody runs ahead of the loop: facts are posted once, and intents wait until they can be carried out."""

from collections import Counter

import pytest
from engine_house import HERE, House, step, until

from cmd_daemon.engine import lanes, polling, splitting, writer
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.policy import SplitPlan


async def test_a_large_step_is_split_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its groups come in many events with commits between them."""
    monkeypatch.setattr(splitting, "CHUNK", 5)
    monkeypatch.setattr(writer, "FULL", 5)
    house.gated.gate.set()
    async with house.running():
        await house.apply(one=step(split=SplitPlan("gated", {"count": 40})))
        await house.reach("ACCEPTED")
    assert house.gated.asked == 1
    house.ran_once(40)


async def test_each_end_is_told_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is asked often is not asked again about ends that wait to be decided."""
    monkeypatch.setattr(writer, "FULL", 1)
    monkeypatch.setattr(polling, "SET_SIZE", 7)
    told: Counter[int] = Counter()
    async with house.running() as engine:

        def post(event: ev.Event) -> None:
            if isinstance(event, ev.JobEnded):
                told[event.job_id] += 1
            engine.post(event)

        engine.polling._post = post
        await house.apply(one=step(30))
        await house.reach("ACCEPTED")
    assert list(told.values()) == [1] * 30


async def test_intents_wait_for_the_calls_before_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane with many free slots intends no more submissions than a few calls carry."""
    monkeypatch.setattr(lanes, "SUBMITTING", 5)
    async with house.running() as engine:
        lane = engine.lanes.lanes[HERE, "fake"]
        most = 0

        def seen() -> bool:
            nonlocal most
            most = max(most, len(lane.submitting))
            assert lane.submitting == {job.id for job in house.jobs("SUBMITTING")}
            return house.state() == "ACCEPTED"

        await house.apply(one=step(30))
        await until(seen)
    assert 0 < most <= 5
    house.ran_once(30)
