"""Drivers whose answers are drawn by the dice: wrong types and keys, duplicates, gaps, exceptions. The engine
goes on, believes nothing that cannot be, and nothing runs twice."""

import dataclasses
import json
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from engine_house import HERE, THERE, House, step, until
from hypothesis import given, settings
from hypothesis import strategies as st

from cmd_daemon.engine.answers import (
    FAILURES,
    TEXT,
    Nonsense,
    checked_outcome,
    checked_progress,
    key_of,
    listed,
    words,
)
from cmd_daemon.hooks import (
    Absent,
    Accepted,
    CancelAnswer,
    ControlAnswer,
    DriverError,
    ErrorClass,
    Found,
    Observation,
    Outcome,
    Phase,
    Progress,
    Refused,
    Unclear,
)
from cmd_daemon.hooks.ports import Host
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.outcome import Failure, QuantaCount
from cmd_daemon.testing.fake_driver import FakeDriver

ANYTHING: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    float("nan"),
    "",
    "\ud800",
    "a\0b",
    "x" * 20_000,
    b"bytes",
    [],
    {},
    {"a": {1, 2}},
    object(),
    ErrorClass.UNKNOWN,
    Phase.DONE,
    Outcome(ok=True),
)
KINDS = (Accepted, Absent, Found, Observation, CancelAnswer, ControlAnswer, Refused, Unclear)


class Babbler(FakeDriver):
    """Does what it is asked, and answers `chance` of the calls with something else."""

    dice = random.Random(0)
    chance = 0.0
    told = 0

    def _muddled(self, answers: Sequence[Any]) -> Any:
        if self.dice.random() >= self.chance:
            return answers
        self.told += 1
        kind = self.dice.randrange(8)
        mixed = list(answers)
        if kind == 0:
            error = self.dice.choice(list(ErrorClass))
            raise DriverError(error, self.dice.choice(("", "\ud800", "x" * 20_000)))
        if kind == 1:
            raise self.dice.choice((RuntimeError, KeyError, ValueError, RecursionError))("boom")
        if kind == 2:
            return self.dice.choice(ANYTHING)
        if kind == 3:
            del mixed[self.dice.randrange(len(mixed)) :]
        if kind == 4:
            mixed += [*mixed, *ANYTHING]
        if kind == 5:
            mixed = [self._bent(each) for each in mixed]
        if kind == 6:
            mixed = [dataclasses.replace(each, key=each.key + "#9") for each in mixed]
        self.dice.shuffle(mixed)
        return mixed

    def _bent(self, answer: Any) -> Any:
        """The answer with one field of another kind. Its promise of what was done is left alone: a driver
        that says of work that it took it, or of a lost attempt that it is absent, is believed."""
        names = [f.name for f in dataclasses.fields(answer) if f.name not in ("ok", "done", "ref")]
        if not names or type(answer) not in KINDS:
            return answer
        return dataclasses.replace(answer, **{self.dice.choice(names): self.dice.choice(ANYTHING)})

    async def submit(self, orders: Any) -> Any:
        return self._muddled(await super().submit(orders))

    async def find(self, keys: Any) -> Any:
        return self._muddled(await super().find(keys))

    async def observe(self, refs: Any) -> Any:
        return self._muddled(await super().observe(refs))

    async def cancel(self, refs: Any) -> Any:
        return self._muddled(await super().cancel(refs))

    async def control(self, controls: Any) -> Any:
        return self._muddled(await super().control(controls))


def babbling(house: House, seed: int) -> list[Babbler]:
    """Put a babbler at HERE; those that were made."""
    made: list[Babbler] = []

    def make(host: Host) -> Babbler:
        driver = Babbler(house.world, HERE, host, poll_s=1.0)
        driver.dice, driver.chance = random.Random(seed), 0.6
        made.append(driver)
        return driver

    house.drivers[HERE] = make
    return made


def over(house: House) -> bool:
    """Whether the campaign is at its end, or none of its groups goes on by itself."""
    states = {group.state for group in house.engine.view.groups.values()}
    return states == {"HELD"} or house.state() == "ACCEPTED"


@pytest.mark.parametrize("seed", range(int(os.environ.get("CMD_FUZZ", "10")) // 2))
async def test_any_answers_of_a_driver(house: House, seed: int) -> None:
    made = babbling(house, seed)
    async with house.running() as engine:
        await house.apply(one=step(6, jobs=("run", "tidy"), fake={"run_s": 5.0}))
        await house.apply("two", one=step(2, at=THERE))
        await house.reach("ACCEPTED", "two")
        await until(lambda: made[0].told >= 8 or over(house), "eight odd answers")
        made[0].chance = 0.0

        async def free() -> None:
            for ident in house.groups("HELD"):
                wish: Callable[..., Any] = ev.GroupReleased if uncertain(ident) else ev.GroupRetried
                await engine.ask(wish(group_id=ident, actor="me"))

        def uncertain(ident: int) -> bool:
            group = engine.view.groups[ident]
            return engine.view.jobs[group.jobs[group.cursor]].state == "UNCERTAIN"

        while house.state() != "ACCEPTED":
            await until(lambda: house.state() == "ACCEPTED" or house.groups("HELD"))
            await free()
        await house.check("camp", "two")
    assert all(n == 1 for n in house.world.ledger().values()), "an attempt ran twice"


_ODD = st.sampled_from(ANYTHING) | st.integers() | st.floats() | st.text(max_size=5)


def mostly(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What it should be, or, one time in six, something else."""
    return st.integers(0, 5).flatmap(lambda die: valid if die else _ODD)


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


_NUMBER = mostly(st.integers(0, 9))
_COUNT = mostly(st.builds(QuantaCount, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER))
_TEXT = mostly(st.text(max_size=5))
_FAILURE = mostly(st.builds(Failure, _TEXT, _TEXT, _TEXT, _NUMBER))


@settings(deadline=None, max_examples=300)
@given(
    st.builds(
        Outcome,
        ok=mostly(st.booleans()),
        message=_TEXT,
        exit_code=mostly(st.none() | st.integers(0, 255)),
        error_class=mostly(st.sampled_from([None, *ErrorClass])),
        quanta=mostly(st.dictionaries(_TEXT.filter(_hashable), _COUNT, max_size=2)),
        failures=mostly(st.lists(_FAILURE, max_size=2)),
        output_run=_TEXT,
        started_at=_NUMBER,
        finished_at=_NUMBER,
        extra=mostly(st.dictionaries(st.text(max_size=4), _ODD, max_size=2)),
    )
    | _ODD
)
def test_any_outcome_is_made_fit_or_called_nonsense(given_outcome: Any) -> None:
    try:
        checked = checked_outcome(given_outcome)
    except Nonsense:
        return
    assert checked.ok in (True, False)
    assert len(checked.message) <= TEXT
    assert len(checked.failures) <= FAILURES
    text = json.dumps(dataclasses.asdict(checked))
    text.encode()  # what cannot be stored raises here
    assert "\\u0000" not in json.dumps([checked.message, checked.output_run])


@settings(deadline=None, max_examples=200)
@given(
    st.builds(
        Progress,
        **{
            f.name: _TEXT if f.name in ("unit", "note") else _NUMBER
            for f in dataclasses.fields(Progress)
        },
    )
    | _ODD
)
def test_any_progress_is_made_fit_or_called_nonsense(given_progress: Any) -> None:
    try:
        text = checked_progress(given_progress)
    except Nonsense:
        return
    assert "NaN" not in text
    assert "Infinity" not in text
    json.loads(text)


@settings(deadline=None, max_examples=200)
@given(_ODD | st.lists(_ODD, max_size=3), st.integers(0, 3))
def test_any_answers_can_be_listed(answers: Any, asked: int) -> None:
    for answer in listed(answers, asked):
        assert isinstance(key_of(answer), str)
        words(answer).encode()
