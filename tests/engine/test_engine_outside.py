"""Outside systems that lose answers, refuse, ask for patience, hang, lie and talk nonsense."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from engine_house import HERE, THERE, House, step, until

from cmd_daemon.engine import placing
from cmd_daemon.hooks import (
    Accepted,
    DataShare,
    DriverError,
    ErrorClass,
    FacilityView,
    Observation,
    Outcome,
    Phase,
    Placement,
    PlacementRequest,
    Refused,
    Safety,
    SplitRequest,
    Verb,
)
from cmd_daemon.hooks.placement import Factor
from cmd_daemon.hooks.ports import CommittedEvent, Host, JobOrder, JobRef
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.outcome import Failure, QuantaCount
from cmd_daemon.kernel.policy import PlacementPlan, SplitPlan
from cmd_daemon.testing.fake_driver import FakeDriver
from cmd_daemon.testing.world import Behaviour


async def test_lost_answers_are_looked_up_and_adopted(house: House) -> None:
    async with house.running():
        await house.apply(one=step(30, fake={"lose_answer": True}))
        await house.reach("ACCEPTED")
        await house.check()
    house.ran_once(30)
    assert house.world.calls["find"] >= 1


@pytest.mark.parametrize("kind", [ErrorClass.TRANSIENT, ErrorClass.NOT_YET, ErrorClass.UNKNOWN])
async def test_a_refused_submit_is_made_again(house: House, kind: ErrorClass) -> None:
    async with house.running():
        await house.apply(one=step(5, fake={"refuse": kind, "times": 2}))
        await house.reach("ACCEPTED")
        records = await house.check()
    house.ran_once(5)
    attempts = {r.attempt for r in records if r.to_state == "SUCCEEDED"}
    assert attempts == {1}, "an attempt that never was outside was counted"


async def test_a_permanent_refusal_holds_the_group(house: House) -> None:
    fake = {"refuse": ErrorClass.PERMANENT, "times": 99, "message": "no such queue"}
    async with house.running() as engine:
        await house.apply(one=step(2, fake=fake))
        await until(lambda: len(house.groups("HELD")) == 2)
        assert "no such queue" in str(engine.view.groups[house.groups("HELD")[0]].reason)
    assert house.world.ledger() == {}


async def test_not_yet_is_paced_and_never_used_up(house: House) -> None:
    async with house.running():
        began = house.clock.now()
        await house.apply(one=step(1, fake={"refuse": ErrorClass.NOT_YET, "times": 12}))
        await house.reach("ACCEPTED")
    assert house.clock.now() - began >= 12 * 5_000_000
    house.ran_once(1)


async def test_a_breaker_opens_half_opens_and_hurts_only_its_facility(house: House) -> None:
    house.world.throttled = True
    async with house.running() as engine:
        await house.apply(one=step(3), two=step(10, at=THERE))
        lane = engine.lanes.lanes[HERE, "fake"]
        await until(lambda: lane.breaker.state(house.clock.now()) == "open")
        assert "patience" in lane.breaker.message
        await until(lambda: house.counts("two").get("SUCCEEDED") == 10)
        await until(lambda: lane.breaker.opened >= 2, "a try that failed while half-open")
        house.world.throttled = False
        await house.reach("ACCEPTED")
        assert lane.breaker.state(house.clock.now()) == "closed"
        await house.check()
    house.ran_once(13, *house.worlds.values())


class Evil(FakeDriver):
    """A fake driver whose `mischief` (by verb) is done instead of its call."""

    mischief: Mapping[str, Any]

    async def submit(self, orders: Sequence[JobOrder]) -> Any:
        if "submit" in self.mischief:
            return await self.mischief["submit"](orders)
        return await super().submit(orders)

    async def find(self, keys: Sequence[str]) -> Any:
        if "find" in self.mischief:
            return await self.mischief["find"](keys)
        return await super().find(keys)

    async def observe(self, refs: Sequence[JobRef]) -> Any:
        if "observe" in self.mischief:
            return await self.mischief["observe"](refs)
        return await super().observe(refs)


def evil(house: House, **mischief: Any) -> None:
    """Put the evil driver at HERE."""

    def make(host: Host) -> Evil:
        driver = Evil(house.world, HERE, host, poll_s=1.0)
        driver.mischief = mischief
        return driver

    house.drivers[HERE] = make


async def hangs(given: Any) -> Any:
    await asyncio.Event().wait()


async def does_not_stop(given: Any) -> Any:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def raises(given: Any) -> Any:
    raise RuntimeError("boom \ud800")


async def cancels_itself(given: Any) -> Any:
    raise asyncio.CancelledError


async def exits(given: Any) -> Any:
    sys.exit("usage: submit [-h]")


async def classless(given: Any) -> Any:
    raise DriverError("whatever", "an error of no class")  # type: ignore[arg-type]


def answering(answer: Any) -> Any:
    """A call that answers so, whatever it is asked; a function gets what it was asked."""

    async def call(given: Any) -> Any:
        return answer(given) if callable(answer) else answer

    return call


def broken(given: Any) -> Any:
    yield None
    raise RuntimeError("half way")


SUBMIT_MISCHIEF = {
    "hangs": hangs,
    "does not stop": does_not_stop,
    "raises": raises,
    "cancels itself": cancels_itself,
    "exits": exits,
    "an error of no class": classless,
    "nothing": answering(None),
    "a number": answering(7),
    "an endless answer": answering(lambda orders: itertools.count()),
    "an answer that breaks": answering(broken),
    "unknown keys": answering([Accepted("camp/nobody#1", "x"), Refused("k", 3, None)]),  # type: ignore[arg-type]
    "keys that are no text": answering([Accepted([], "x"), Accepted(None, "x")]),  # type: ignore[arg-type]
    "a refusal of no class": answering(
        lambda orders: [Refused(o.key, "odd", b"\xff") for o in orders]  # type: ignore[arg-type]
    ),
    "a ref that is no text": answering(
        lambda orders: [Accepted(o.key, o) for o in orders]  # type: ignore[arg-type]
    ),
    "a ref that cannot be stored": answering(
        lambda orders: [Accepted(o.key, "\ud800") for o in orders]
    ),
}


@pytest.mark.parametrize("mischief", SUBMIT_MISCHIEF)
async def test_mischief_in_submit_hurts_only_its_own_jobs(house: House, mischief: str) -> None:
    evil(house, submit=SUBMIT_MISCHIEF[mischief], find=answering(None))
    async with house.running() as engine:
        await house.apply(one=step(2))
        await until(lambda: len(house.jobs("SUBMITTING")) == 2)
        await house.apply("other", one=step(20, at=THERE, jobs=("a", "b")))
        await house.reach("ACCEPTED", "other")
        await until(lambda: any(j.submit_tries for j in engine.view.jobs.values()))
        assert not house.ended.done()
    assert house.world.ledger() == {}


OUTCOMES: dict[str, Any] = {
    "none": None,
    "a word": "done",
    "not a truth": Outcome("yes"),  # type: ignore[arg-type]
    "a huge exit code": Outcome(False, exit_code=2**70),
    "no error class": Outcome(False, error_class="odd"),  # type: ignore[arg-type]
    "quanta of words": Outcome(True, quanta={"isr": "many"}),  # type: ignore[dict-item]
    "less than none": Outcome(True, quanta={"isr": QuantaCount(expected=-5)}),
    "failures of words": Outcome(False, failures=("bad",)),  # type: ignore[arg-type]
    "a time after all": Outcome(True, finished_at=2**63),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_an_outcome_that_is_none_is_a_failure(house: House, outcome: str) -> None:
    """Nonsense for one attempt is that attempt's failure; the rest of the same answer counts."""

    async def observe(refs: Sequence[JobRef]) -> Any:
        told: list[Any] = [None, Observation(refs[0].key, "odd")]  # type: ignore[arg-type]
        for ref in refs:
            bad = "/0001/" in ref.key
            end = OUTCOMES[outcome] if bad else Outcome(True)
            told.append(Observation(ref.key, Phase.DONE, end))
        return told

    evil(house, observe=observe)
    async with house.running() as engine:
        await house.apply(one=step(3))
        await until(lambda: len(house.groups("HELD")) == 1)
        reason = str(engine.view.groups[house.groups("HELD")[0]].reason)
        assert "called it done, but" in reason
        assert house.counts("one")["SUCCEEDED"] == 2
        await house.check()


async def test_texts_that_cannot_be_stored_are_made_fit(house: House) -> None:
    text = "bad \ud800\0 text " + "x" * 100_000
    failure = Failure(text, text, text, 3)
    outcome = Outcome(False, text, 3, failures=(failure,) * 1000, extra={"a": object()})
    evil(house, observe=answering(lambda r: [Observation(x.key, Phase.DONE, outcome) for x in r]))
    async with house.running() as engine:
        await house.apply(one=step(1))
        await until(lambda: len(house.groups("HELD")) == 1)
        (job,) = engine.view.jobs
        attempts = await house.store.attempts(job)
        assert len(attempts) >= 1
        assert attempts[0].message.startswith("bad ?  text x")
        await house.check()


@pytest.mark.parametrize("mischief", [hangs, raises, exits, cancels_itself, answering(3)])
async def test_mischief_in_observe_hurts_only_its_lane(house: House, mischief: Any) -> None:
    evil(house, observe=mischief)
    async with house.running():
        await house.apply(one=step(2), two=step(20, at=THERE))
        await until(lambda: house.counts("two").get("SUCCEEDED") == 20)
        await until(lambda: len(house.jobs("RUNNING")) == 2)


async def test_a_driver_without_a_pace(house: House) -> None:
    def make(host: Host) -> FakeDriver:
        driver = FakeDriver(house.world, HERE, host)
        driver.poll_s = None  # type: ignore[assignment]
        return driver

    house.drivers[HERE] = make
    async with house.running():
        await house.apply(one=step(3, fake={"run_s": 5.0}), two=step(3, at=THERE))
        await house.reach("ACCEPTED")


async def test_a_driver_that_does_not_start_is_started_again(house: House) -> None:
    tries: list[int] = []

    class Late(FakeDriver):
        async def start(self) -> None:
            tries.append(1)
            if len(tries) < 3:
                sys.exit(1)

    house.drivers[HERE] = lambda host: Late(house.world, HERE, host)
    async with house.running():
        await house.apply(one=step(3))
        await house.reach("ACCEPTED")
    assert len(tries) == 3


async def test_an_attempt_the_outside_forgot_is_tried_again(house: House) -> None:
    async with house.running():
        await house.apply(one=step(1, fake={"run_s": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 1)
        house.world.behaviours[""] = Behaviour()
        del house.world.attempts["camp/one/0001/run#1"]
        await house.reach("ACCEPTED")
    assert house.world.ledger() == {"camp/one/0001/run#1": 1, "camp/one/0001/run#2": 1}


class Blind(Evil):
    """A driver that can neither be asked nor told twice."""

    safety: Mapping[Verb, Safety] = {Verb.SUBMIT: Safety.NEITHER, Verb.CANCEL: Safety.IDEMPOTENT}


async def test_nobody_knows_and_a_person_decides(house: House) -> None:
    """UNCERTAIN jobs wait for persons and do not stop the facility's others."""
    broken_line = True

    async def submit(orders: Sequence[JobOrder]) -> Any:
        if broken_line:
            raise DriverError(ErrorClass.UNKNOWN, "the line broke")
        return [Accepted(o.key, house.world.run(o, Behaviour()).ref) for o in orders]

    def make(host: Host) -> Blind:
        driver = Blind(house.world, HERE, host, poll_s=1.0)
        driver.mischief = {"submit": submit}
        return driver

    house.drivers[HERE] = make
    async with house.running() as engine:
        for number in range(3):
            await house.apply(f"camp{number}", one=step(1))
            await until(lambda n=number: len(house.jobs("UNCERTAIN")) == n + 1)  # type: ignore[misc]
        lane = engine.lanes.lanes[HERE, "fake"]
        assert lane.breaker.state(house.clock.now()) != "closed"
        broken_line = False
        await house.apply("more", one=step(3))
        await house.reach("ACCEPTED", "more")
        assert len(house.groups("HELD")) == 3
        for group in house.groups("HELD"):
            await engine.ask(ev.GroupRejected(group_id=group, reason="looked: it is not there"))
        await until(lambda: not engine.view.groups)
    house.ran_once(3)


# --- splitters, selectors, observers ----------------------------------------------------------


class BadSplitter:
    """Splitter `bad`: does what it is told."""

    name = "bad"
    needs_facility = False

    def __init__(self, mischief: Any) -> None:
        self.mischief = mischief

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        return []

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        answer: Sequence[DataShare] = await self.mischief(request)
        return answer


SPLITS = {
    "raises": raises,
    "exits": exits,
    "cancels itself": cancels_itself,
    "nothing": answering(None),
    "shares of words": answering(["a", "b"]),
    "the same name twice": answering([DataShare("a"), DataShare("a")]),
    "no name": answering([DataShare("")]),
    "data that is no JSON": answering([DataShare("a", data={"x": object()})]),
    "a region that is none": answering([DataShare("a", region=["\ud800"])]),  # type: ignore[arg-type]
    "none at all": answering([]),
}


@pytest.mark.parametrize("mischief", SPLITS)
async def test_a_bad_split_holds_its_step_only(house: House, mischief: str) -> None:
    house.plugins.splitters["bad"] = BadSplitter(SPLITS[mischief])
    async with house.running() as engine:
        ident = await house.apply(one=step(split=SplitPlan("bad")))
        await house.apply("other", one=step(3))
        await house.reach("ACCEPTED", "other")
        bad = engine.view.steps_of[ident]["one"]
        await until(lambda: engine.view.steps[bad].state in ("HELD", "ACCEPTED"))
        if engine.view.steps[bad].state == "HELD":
            assert engine.view.steps[bad].reason
            await house.apply(one=step(2))
            await house.reach("ACCEPTED")
        await house.check("camp", "other")


async def test_a_transient_split_is_tried_again(house: House) -> None:
    tries: list[int] = []

    async def later(request: Any) -> Any:
        tries.append(1)
        if len(tries) < 4:
            kind = ErrorClass.TRANSIENT if len(tries) % 2 else ErrorClass.NOT_YET
            raise DriverError(kind, "the Butler restarts")
        return [DataShare("a")]

    house.plugins.splitters["bad"] = BadSplitter(later)
    async with house.running():
        await house.apply(one=step(split=SplitPlan("bad")))
        await house.reach("ACCEPTED")
    assert len(tries) == 4


class BadSelector:
    """Algorithm `bad`: does what it is told, `good_after` calls long."""

    algorithms = frozenset({"bad"})

    def __init__(self, mischief: Any, good_after: int) -> None:
        self.mischief = mischief
        self.calls = 0
        self.good_after = good_after

    async def select(
        self, requests: Sequence[PlacementRequest], facilities: Sequence[FacilityView]
    ) -> Sequence[Placement]:
        self.calls += 1
        if self.calls > self.good_after:
            return [Placement(each.group, HERE, "at last") for each in requests]
        answer: Sequence[Placement] = await self.mischief(requests)
        return answer


SELECTIONS = {
    "hangs": hangs,
    "raises": raises,
    "exits": exits,
    "cancels itself": cancels_itself,
    "nothing": answering(None),
    "too few": answering([]),
    "words": answering(lambda asked: ["HERE"] * len(asked)),
    "an unknown facility": answering(lambda asked: [Placement(a.group, "MARS", "") for a in asked]),
    "a facility that is none": answering(
        lambda asked: [Placement(a.group, [], "") for a in asked]  # type: ignore[arg-type]
    ),
    "bad factors": answering(
        lambda asked: [
            Placement(a.group, HERE, "x", (Factor(HERE, "f", "much", True),)) for a in asked
        ]  # type: ignore[arg-type]
    ),
    "a reason that cannot be stored": answering(
        lambda asked: [Placement(a.group, None, "\ud800") for a in asked]
    ),
}


@pytest.mark.parametrize("mischief", SELECTIONS)
async def test_a_bad_selector_holds_up_its_own_groups_only(
    house: House, mischief: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "SELECT_S", 0.5)
    selector = BadSelector(SELECTIONS[mischief], good_after=1)
    house.plugins.selectors["bad"] = selector
    async with house.running():
        await house.apply(one=step(2, placement=PlacementPlan("bad", (HERE,))))
        await until(lambda: selector.calls == 1)
        await house.apply("other", one=step(3))
        await house.reach("ACCEPTED", "other")
        await house.reach("ACCEPTED")
        await house.check("camp", "other")


@pytest.mark.parametrize("mischief", [hangs, raises, exits, cancels_itself])
async def test_an_observer_never_holds_up_the_engine(house: House, mischief: Any) -> None:
    class Observer:
        name = "bad"
        seen = 0

        async def observe(self, events: Sequence[CommittedEvent]) -> None:
            self.seen += len(events)
            await mischief(events)

    observer = Observer()
    house.plugins.observers["bad"] = observer
    async with house.running():
        await house.apply(one=step(10))
        await house.reach("ACCEPTED")
        await until(lambda: observer.seen)
