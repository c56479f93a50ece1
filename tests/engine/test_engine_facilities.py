"""Facilities as live state: queues, looks, edited limits, the kill switch."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from engine_house import DEADLINE_S, HERE, THERE, House, refused, step, until

from cmd_daemon.engine import engine as engine_module
from cmd_daemon.engine import sweeps
from cmd_daemon.engine.limits import Limits
from cmd_daemon.engine.sweeps import Sweeps
from cmd_daemon.hooks.ports import JobOrder, Queue
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.policy import JobTemplate, Resources, RetryPolicy, StepPolicy
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.testing import FakeProbe
from cmd_daemon.testing.fake_driver import FakeDriver
from cmd_daemon.testing.world import Behaviour

GIB = 2**30
RUNS_ON: dict[str, Any] = {"run_s": None}
SMALL, BIG = Queue("small", 2, 4 * GIB), Queue("big", 1, 16 * GIB)


def processes(count: int, memory: int, **changes: Any) -> StepPolicy:
    """A step of `count` groups with a process job that asks for that much memory."""
    fake = changes.pop("fake", RUNS_ON)
    jobs = (JobTemplate("process", JobKind.PROCESS, {"fake": fake}),)
    resources = Resources(memory=memory, cores=1, walltime_s=3600.0)
    policy: StepPolicy = step(count, **changes)
    return replace(policy, jobs=jobs, resources=resources)


@pytest.fixture
def queued(house: House) -> House:
    """A house with two memory classes at HERE."""
    house.infos[HERE] = replace(house.infos[HERE], queues=(BIG, SMALL))
    return house


@pytest.fixture
def probe(house: House) -> FakeProbe:
    """The house's probe."""
    found = house.plugins.probes["fake"]
    assert isinstance(found, FakeProbe)
    return found


def _running(house: House, *steps: str) -> dict[str, int]:
    return {name: house.counts(name).get("RUNNING", 0) for name in steps}


async def test_a_full_queue_holds_up_nobody_in_another(queued: House) -> None:
    orders: list[JobOrder] = []

    class Recording(FakeDriver):
        async def submit(self, orders_: Sequence[JobOrder]) -> Any:
            orders.extend(orders_)
            return await super().submit(orders_)

    queued.drivers[HERE] = lambda host: Recording(queued.world, HERE, host, poll_s=1.0)
    async with queued.running() as engine:
        await queued.apply(small=processes(5, GIB), big=processes(3, 8 * GIB), free=step(2))
        await until(lambda: _running(queued, "small", "big") == {"small": 2, "big": 1})
        await until(lambda: queued.counts("free") == {"SUCCEEDED": 2})
        assert [(q.name, q.running, q.queued) for q in engine.live.queues(HERE)] == [
            ("small", 2, 3),
            ("big", 1, 2),
        ]
        assert {(o.step, o.queue) for o in orders} == {
            ("small", "small"),
            ("big", "big"),
            ("free", ""),
        }
    async with queued.running():
        # The slots in use are counted again after a restart.
        await until(lambda: _running(queued, "small", "big") == {"small": 2, "big": 1})
        assert queued.counts("small") == {"RUNNING": 2, "READY": 3}
        queued.world.behaviours[""] = Behaviour()
        for key in list(queued.world.attempts):
            queued.world.end(key)
        await queued.reach("ACCEPTED")
        await queued.check()
    queued.ran_once(10)


async def test_a_job_that_grows_goes_to_a_larger_queue_and_then_to_a_person(
    queued: House,
) -> None:
    policy = processes(
        1,
        3 * GIB,
        fake={"run_s": 0.0, "ok": False, "message": "killed"},
        retry=RetryPolicy(attempts=5, backoff_s=2.0, memory_factor=4.0),
    )
    async with queued.running() as engine:
        await queued.apply(one=policy)
        await until(lambda: queued.groups("HELD"))
        (job,) = engine.view.jobs.values()
        assert job.attempt == 2, "3 GiB and 12 GiB were tried, 48 GiB fit nowhere"
        assert "48 GiB" in (job.reason or "")
        assert "small, big" in (job.reason or "")
        await queued.told()
        assert [a.memory for a in await queued.store.attempts(job.id)] == [3 * GIB, 12 * GIB]


async def test_without_queues_the_facilitys_own_limit_holds(house: House) -> None:
    async with house.running() as engine:
        await house.apply(one=processes(1, 65 * GIB))
        await until(lambda: house.groups("HELD"))
        (job,) = engine.view.jobs.values()
        assert "a job at HERE may have 64 GiB" in (job.reason or "")


async def test_a_vital_check_that_fails_twice_stops_submission_there(
    house: House, probe: FakeProbe
) -> None:
    async with house.running() as engine:
        await until(lambda: probe.looks[HERE])
        probe.fail(HERE, "agent", "no answer")
        probe.fail(THERE, "tape", "slow", vital=False)
        await until(lambda: not engine.live.up(HERE)[0])
        assert engine.live.up(HERE) == (False, "check agent fails: no answer")
        assert engine.live.up(THERE) == (True, "")
        await house.apply(here=step(3), there=step(3, at=THERE))
        await until(lambda: house.counts("there") == {"SUCCEEDED": 3})
        looks = probe.looks[HERE]
        await until(lambda: probe.looks[HERE] > looks + 1)
        assert not house.world.attempts, "submitted to a facility that is down"
        probe.heal(HERE)
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(6, *house.worlds.values())


async def test_one_hiccup_does_nothing(house: House, probe: FakeProbe) -> None:
    async with house.running() as engine:
        await until(lambda: probe.looks[HERE])
        looks = probe.looks[HERE]
        probe.break_down(HERE, RuntimeError("broke"))
        await until(lambda: probe.looks[HERE] > looks)
        await until(lambda: [c.ok for c, _ in engine.live.checks_seen(HERE)] == [False])
        assert engine.live.up(HERE) == (True, "")
        probe.heal(HERE)
        await until(lambda: all(c.ok for c, _ in engine.live.checks_seen(HERE)))
        probe.break_down(HERE, RuntimeError("broke"))
        await until(lambda: engine.live.up(HERE) == (False, "check fake fails: broke"))


async def test_a_look_that_hangs_holds_up_no_other(
    house: House, probe: FakeProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmd_daemon.engine.facilities.LOOK_S", 0.3)
    probe.hang(HERE)
    probe.fill(THERE, "disk", 7, 10)
    async with house.running() as engine:
        await until(lambda: probe.looks[THERE] >= 3)
        (disk,) = engine.live.storage(THERE)
        assert (disk.name, disk.free_bytes, disk.total_bytes) == ("disk", 7, 10)
        await until(lambda: not engine.live.up(HERE)[0])
        assert "no answer" in engine.live.up(HERE)[1]


async def limit(house: House, limits: Limits) -> None:
    """A person sets limits at HERE."""
    former = house.engine.live.limits_edited(HERE)
    event = ev.FacilityLimited(
        facility=HERE, former=former.text(), limits=limits.text(), actor="me", reason="more disks"
    )
    await house.engine.ask(event)


async def test_limits_hold_at_once_and_after_a_restart(queued: House) -> None:
    queued.limits[HERE] = 2
    async with queued.running() as engine:
        await queued.apply(one=step(9, fake=RUNS_ON))
        await until(lambda: len(queued.jobs("RUNNING")) == 2)
        await limit(queued, Limits(slots=4, memory=32 * GIB, queues={"small": 0}))
        await until(lambda: len(queued.jobs("RUNNING")) == 4)
        info = engine.facilities[HERE]
        assert (info.slots, info.memory, info.cores) == (4, 32 * GIB, 8)
        assert {q.name: q.slots for q in info.queues} == {"small": 0, "big": 1}
    async with queued.running() as engine:
        assert engine.facilities[HERE] == info
        assert engine.lanes.lanes[HERE, "fake"].limit == 4
        stale = ev.FacilityLimited(facility=HERE, former=None, limits=None)
        assert "came first" in await refused(engine.ask(stale), Refused)
        await limit(queued, Limits(lanes={"fake": 6}))
        await until(lambda: len(queued.jobs("RUNNING")) == 6)
        assert engine.facilities[HERE].memory == queued.infos[HERE].memory
        await limit(queued, Limits())
        assert engine.lanes.lanes[HERE, "fake"].limit == 2
        assert engine.facilities[HERE] == queued.infos[HERE]


async def test_a_queue_is_opened_without_a_restart(queued: House) -> None:
    async with queued.running():
        await limit(queued, Limits(queues={"small": 0}))
        await queued.apply(small=processes(3, GIB), big=processes(1, 8 * GIB))
        await until(lambda: _running(queued, "big") == {"big": 1})
        assert queued.counts("small") == {"READY": 3}
        await limit(queued, Limits(queues={"small": 3}))
        await until(lambda: _running(queued, "small") == {"small": 3})


def live(house: House, name: str = HERE) -> list[str]:
    """Attempts that still run in a facility's world."""
    world = house.worlds[name]
    return [key for key, attempt in world.attempts.items() if not world.over(attempt)]


async def test_the_kill_switch(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "SWEEP", 3)
    house.limits[HERE] = 5
    async with house.running() as engine:
        await house.apply(
            here=step(12, jobs=("a", "b"), fake=RUNS_ON), there=step(4, at=THERE, fake=RUNS_ON)
        )
        await until(lambda: len(live(house)) == 5 and len(live(house, THERE)) == 4)
        kill = ev.FacilityKilled(facility=HERE, actor="pilot", reason="smoke")
        await engine.ask(kill)
        await until(lambda: len(house.groups("HELD")) == 12)
        await until(lambda: not live(house), "the end of what ran outside")
        await until(lambda: not engine.live.ending(HERE))
        reasons = {engine.view.groups[ident].reason for ident in house.groups("HELD")}
        assert reasons == {"stopped by the kill switch at HERE by pilot: smoke"}
        assert engine.live.up(HERE) == (False, "stopped by the kill switch by pilot: smoke")
        assert len(live(house, THERE)) == 4, "another facility noticed"
        assert "kill switch" in await refused(engine.ask(kill), Refused)
        assert len(house.world.attempts) == 5
    async with house.running() as engine:
        assert len(house.groups("HELD")) == 12
        assert not engine.live.up(HERE)[0]
        house.world.behaviours[""] = Behaviour()
        await engine.ask(ev.FacilityRevived(facility=HERE, retry=True, actor="pilot"))
        await until(lambda: house.counts("here") == {"SUCCEEDED": 24})
        for key in live(house, THERE):
            house.worlds[THERE].end(key)
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(24 + 5 + 4, *house.worlds.values())


async def test_a_kill_goes_on_after_a_restart(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine ends before its sweep has begun, and while the outside answers no cancel."""
    async with house.running(checked=False) as engine:
        await house.apply(here=step(6, fake=RUNS_ON))
        await until(lambda: len(live(house)) == 6)
        house.world.throttled = True
        with monkeypatch.context() as patched:
            patched.setattr(Sweeps, "facility", lambda *_: None)
            await engine.ask(ev.FacilityKilled(facility=HERE, actor="pilot", reason="smoke"))
        assert not house.groups("HELD")
    async with house.running() as engine:
        await until(lambda: len(house.groups("HELD")) == 6)
        assert engine.live.ending(HERE) == 6
        assert len(live(house)) == 6
    house.world.throttled = False
    async with house.running() as engine:
        await until(lambda: not live(house) and not engine.live.ending(HERE))
        await engine.ask(ev.FacilityRevived(facility=HERE, retry=False, actor="pilot"))
        await until(lambda: engine.live.up(HERE) == (True, ""))
        assert len(house.groups("HELD")) == 6, "they wait for persons"
        house.world.behaviours[""] = Behaviour()
        for ident in house.groups("HELD"):
            await engine.ask(ev.GroupReleased(group_id=ident, actor="me"))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(12)


async def test_a_revival_goes_on_after_a_restart(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.running(checked=False) as engine:
        await house.apply(here=step(4, fake=RUNS_ON))
        await until(lambda: len(live(house)) == 4)
        await engine.ask(ev.FacilityKilled(facility=HERE, actor="pilot", reason="smoke"))
        await until(lambda: not live(house) and not engine.live.ending(HERE))
        house.world.behaviours[""] = Behaviour()
        with monkeypatch.context() as patched:
            patched.setattr(Sweeps, "facility", lambda *_: None)
            await engine.ask(ev.FacilityRevived(facility=HERE, retry=True, actor="pilot"))
        assert len(house.groups("HELD")) == 4
    async with house.running():
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(8)


async def test_a_submission_in_the_queue_is_not_made_after_a_kill(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is intended and not called yet when the switch is used stays inside, even if the sweep has
    not come to it."""
    monkeypatch.setattr(engine_module, "SLICE", 1)
    monkeypatch.setattr(sweeps, "SWEEP", 1)
    entered, gate = asyncio.Event(), asyncio.Event()

    class Slow(FakeDriver):
        async def submit(self, orders: Sequence[JobOrder]) -> Any:
            entered.set()
            await gate.wait()
            return await super().submit(orders)

    house.drivers[HERE] = lambda host: Slow(house.world, HERE, host, poll_s=1.0)
    async with house.running() as engine:
        await house.apply(first=step(1, fake=RUNS_ON))
        await asyncio.wait_for(entered.wait(), DEADLINE_S)
        await house.apply("other", more=step(50, fake=RUNS_ON))
        await until(lambda: len(house.jobs("SUBMITTING")) == 51)
        gate.set()
        await engine.ask(ev.FacilityKilled(facility=HERE, actor="pilot", reason="smoke"))
        await until(lambda: len(house.groups("HELD")) == 51)
        await until(lambda: not engine.live.ending(HERE) and not live(house))
        assert len(house.world.attempts) == 1, "submitted after the kill"


async def test_a_submission_that_a_crash_cut_off_is_not_made_after_a_kill(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarted before the sweep: what is looked up and found absent is not submitted any more."""
    entered = asyncio.Event()

    class Deaf(FakeDriver):
        async def submit(self, orders: Sequence[JobOrder]) -> Any:
            entered.set()
            await asyncio.Event().wait()

    house.drivers[HERE] = lambda host: Deaf(house.world, HERE, host, poll_s=1.0)
    monkeypatch.setattr("cmd_daemon.engine.calls.CALL_S", 1000.0)
    monkeypatch.setattr("cmd_daemon.engine.guarding.CALL_S", 1000.0)
    async with house.running(checked=False) as engine:
        await house.apply(one=step(3, fake=RUNS_ON))
        await asyncio.wait_for(entered.wait(), DEADLINE_S)
        await until(lambda: len(house.jobs("SUBMITTING")) == 3)
        with monkeypatch.context() as patched:
            patched.setattr(Sweeps, "facility", lambda *_: None)
            await engine.ask(ev.FacilityKilled(facility=HERE, actor="pilot", reason="smoke"))
    del house.drivers[HERE]
    async with house.running() as engine:
        await until(lambda: len(house.groups("HELD")) == 3)
        await until(lambda: not engine.live.ending(HERE))
        assert not house.world.attempts, "submitted after the kill"
        assert len(house.jobs("READY")) == 3
