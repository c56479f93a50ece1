"""What needs a person is said once, again when it changes, and neither lost nor repeated by a restart."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from engine_house import HERE, House, step, until

from cmd_daemon.engine.concerns import alike
from cmd_daemon.hooks import ErrorClass, Notice
from cmd_daemon.kernel import events as ev
from cmd_daemon.testing import FakeProbe

REFUSED: dict[str, Any] = {"refuse": ErrorClass.PERMANENT, "times": 99, "message": "no such queue"}


class Book:
    """A notifier that writes down; it can be made to fail, to hang, or to wait."""

    name = "book"

    def __init__(self) -> None:
        self.told: list[Notice] = []
        self.calls = 0
        self.fails = 0
        self.quiet = False
        self.gate: asyncio.Event | None = None

    async def notify(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Write them down."""
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the webhook is away")
        if self.quiet:
            return notices
        self.told += notices
        return []

    def texts(self) -> list[str]:
        """What was said."""
        return [each.text for each in self.told]


@pytest.fixture
def book(house: House) -> Book:
    """The house's notifier."""
    made = Book()
    house.plugins.notifiers["book"] = made
    return made


async def looks(house: House, count: int = 3) -> None:
    """Let so many rounds of looking and gathering pass."""
    await house.clock.wait(10.0 * count)
    await asyncio.sleep(0)


def test_reasons_that_differ_in_numbers_are_alike() -> None:
    first = alike("No flat for detector 12 at 0x7f3e of 2b1c0f6e-6f0e-4d53-9a0c-1f2d3c4b5a69")
    assert first == alike(
        "No flat for detector 171 at 0x11 of 9b1c0f6e-6f0e-4d53-9a0c-1f2d3c4b5a60"
    )
    assert first != alike(
        "No dark for detector 12 at 0x7f3e of 2b1c0f6e-6f0e-4d53-9a0c-1f2d3c4b5a69"
    )


async def test_groups_held_for_one_reason_are_said_together_and_once(
    house: House, book: Book
) -> None:
    async with house.running():
        await house.apply(one=step(40, fake=REFUSED))
        await until(lambda: len(house.groups("HELD")) == 40)
        await until(lambda: book.told, "a notice")
        await looks(house, 5)
    assert len(book.told) in (1, 2), "one for all of them, or one early and one when it had doubled"
    last = book.told[-1]
    assert last.text.startswith("40 groups of camp/one are held: ")
    assert "no such queue" in last.text
    assert (last.severity, last.entity) == ("warning", "campaigns/camp/steps/one")
    assert last.command == "cm groups camp/one --state HELD"


async def test_a_single_group_is_named(house: House, book: Book) -> None:
    async with house.running():
        await house.apply(one=step(1, fake=REFUSED))
        await until(lambda: book.told, "a notice")
    assert book.told[0].entity.startswith("campaigns/camp/steps/one/groups/")
    assert book.told[0].command.startswith("cm why camp/one/")


async def test_what_is_over_is_news_when_it_comes_back(house: House, book: Book) -> None:
    async with house.running() as engine:
        await house.apply(one=step(1, fake=REFUSED))
        await until(lambda: len(book.told) == 1)
        ident = house.groups("HELD")[0]
        await engine.ask(ev.GroupRetried(group_id=ident, actor="me"))
        await until(lambda: len(book.told) == 2, "the second notice")
    assert book.told[0].entity == book.told[1].entity


async def test_a_person_is_not_told_of_what_a_person_did(house: House, book: Book) -> None:
    async with house.running() as engine:
        await house.apply(one=step(2, fake={"run_s": None}))
        await until(lambda: len(house.groups("RUNNING")) == 2)
        for ident in house.groups("RUNNING"):
            await engine.ask(ev.GroupHeld(group_id=ident, actor="me", reason="look at it"))
        await looks(house)
    assert book.told == []


async def test_breakpoints_and_ends_are_said(house: House, book: Book) -> None:
    async with house.running() as engine:
        await house.apply(
            one=step(1), sign=step(0, "one", jobs=(), breakpoint="Look at the plots.")
        )
        await until(lambda: any("waits to be signed" in text for text in book.texts()))
        view = engine.view
        ident = view.steps_of[view.campaign_ids["camp"]]["sign"]
        await engine.ask(ev.StepSigned(step_id=ident, actor="me", reason="fine"))
        await until(lambda: "camp is ACCEPTED" in " ".join(book.texts()))
    signs = [each for each in book.told if "signed" in each.text]
    assert [each.command for each in signs] == ['cm sign camp/sign --reason "..."']
    ends = [each for each in book.told if "ACCEPTED" in each.text]
    assert [(each.severity, each.entity) for each in ends] == [("info", "campaigns/camp")]


async def test_a_failed_step_is_urgent(house: House, book: Book) -> None:
    async with house.running() as engine:
        await house.apply(one=step(1, fake=REFUSED))
        await until(lambda: house.groups("HELD"))
        ident = house.groups("HELD")[0]
        await engine.ask(ev.GroupRejected(group_id=ident, actor="me", reason="no use"))
        await until(lambda: "camp is FAILED" in " ".join(book.texts()))
    assert {e.severity for e in book.told if "FAILED" in e.text} == {"urgent"}


async def test_a_facility_that_is_down_is_said_until_it_is_up(house: House, book: Book) -> None:
    probe = house.plugins.probes["fake"]
    assert isinstance(probe, FakeProbe)
    probe.fail(HERE, message="the gateway is away")
    async with house.running():
        await until(lambda: book.told, "a notice")
        await looks(house, 4)
    async with house.running():
        await until(lambda: probe.looks[HERE] >= 6, "more looks after a restart")
        await looks(house)
    assert [(e.severity, e.entity) for e in book.told] == [("urgent", f"facilities/{HERE}")]
    assert "the gateway is away" in book.told[0].text
    probe.heal(HERE)
    async with house.running() as engine:
        await until(lambda: engine.live.standing()[HERE][0], "a look that finds it well")
        await looks(house)
        probe.fail(HERE, message="away again")
        await until(lambda: len(book.told) == 2, "the second notice")


async def test_a_notifier_that_fails_is_asked_again_and_holds_up_nobody(
    house: House, book: Book
) -> None:
    book.fails = 3
    async with house.running():
        await house.apply(one=step(1, fake=REFUSED))
        await house.apply("other", two=step(20))
        await house.reach("ACCEPTED", "other")
        await until(lambda: any("held" in text for text in book.texts()), "the notice")
    assert book.calls >= 4


async def test_what_is_over_before_it_could_be_said_is_not_said(house: House, book: Book) -> None:
    book.quiet = True
    async with house.running() as engine:
        await house.apply(one=step(1, fake=REFUSED))
        await until(lambda: book.calls >= 1, "a try")
        ident = house.groups("HELD")[0]
        await engine.ask(ev.GroupRejected(group_id=ident, actor="me", reason="no use"))
        await looks(house)
        book.quiet = False
        await until(lambda: "camp is FAILED" in " ".join(book.texts()))
    assert not any("held" in text for text in book.texts())


async def test_a_restart_repeats_nothing_and_forgets_nothing(house: House, book: Book) -> None:
    async with house.running():
        await house.apply(one=step(3, fake=REFUSED))
        await until(lambda: book.told, "a notice")
        await looks(house)
    said = len(book.told)
    async with house.running():
        await looks(house, 5)
        assert len(book.told) == said, book.texts()
    book.gate = asyncio.Event()  # it hangs, and the daemon dies before it is delivered
    async with house.running():
        await house.apply("other", two=step(1, fake=REFUSED))
        await until(lambda: len(house.groups("HELD")) == 4)
        await looks(house)
    assert len(book.told) == said
    book.gate = None
    async with house.running():
        await until(lambda: len(book.told) > said, "the notice of before")
        await looks(house)
    assert [each.entity.split("/")[1] for each in book.told[said:]] == ["other"]


async def test_an_end_that_nobody_wrote_down_is_read_again(house: House, book: Book) -> None:
    async with house.running():
        await house.apply("first", one=step(1))
        await until(lambda: "first is ACCEPTED" in " ".join(book.texts()))
        await looks(house)
    kept = (house.root / "notices.json").read_text()
    async with house.running():
        await house.apply("second", one=step(1))
        await until(lambda: "second is ACCEPTED" in " ".join(book.texts()))
        await looks(house)
    book.told.clear()
    (house.root / "notices.json").write_text(kept)  # as if it had died before it wrote
    async with house.running():
        await until(lambda: book.told, "the notice")
        await looks(house)
    assert book.texts() == ["second is ACCEPTED"]


async def test_without_notifiers_nothing_is_written(house: House) -> None:
    async with house.running():
        await house.apply(one=step(1, fake=REFUSED))
        await until(lambda: house.groups("HELD"))
        await looks(house)
    assert not (house.root / "notices.json").exists()
