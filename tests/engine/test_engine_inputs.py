"""What plugins tell for placement: locators one after the other, and what waits on the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from engine_house import HERE, THERE, House

from cmd_daemon.engine import inputs
from cmd_daemon.engine.engine import Engine
from cmd_daemon.hooks import (
    FacilityInfo,
    FacilityReport,
    Held,
    Host,
    InputsHeld,
    InputsRequest,
    Link,
)

ASKED = [InputsRequest(name, "main", ("in",), ("raw",), "") for name in ("g1", "g2")]


class Knowing:
    """Answers for the groups it knows, with so many files."""

    def __init__(self, name: str, files: int, *groups: str) -> None:
        self.name = name
        self.files = files
        self.groups = groups
        self.asked: list[list[str]] = []
        self.fails = self.hangs = False

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        """See `InputLocator`."""
        self.asked.append([each.group for each in requests])
        if self.fails:
            raise OSError("away")
        if self.hangs:
            await asyncio.Event().wait()
        held = Held(self.files, 10 * self.files)
        return [
            InputsHeld(each.group, {HERE: held}) for each in requests if each.group in self.groups
        ]


@pytest.fixture
async def engine(house: House) -> AsyncIterator[Engine]:
    """A running engine whose plugins tests give locators."""
    async with house.running() as engine:
        yield engine


async def test_the_locator_loaded_last_is_asked_first_and_the_one_before_for_the_rest(
    engine: Engine,
) -> None:
    general, special = Knowing("general", 1, "g1", "g2"), Knowing("special", 5, "g2")
    engine.plugins.locators.update(general=general, special=special)
    found = await engine.placing.inputs.ask(ASKED, [HERE, THERE])
    assert {name: each.total for name, each in found.items()} == {
        "g1": Held(1, 10),
        "g2": Held(5, 50),
    }
    assert (special.asked, general.asked) == ([["g1", "g2"]], [["g1"]])


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_locator_that_fails_is_stood_in_for(
    engine: Engine, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LOCATE_S", 0.5)
    general, special = Knowing("general", 1, "g1", "g2"), Knowing("special", 5, "g1", "g2")
    setattr(special, how, True)
    engine.plugins.locators.update(general=general, special=special)
    found = await engine.placing.inputs.ask(ASKED, [HERE])
    assert [each.total for each in found.values()] == [Held(1, 10)] * 2
    assert general.asked == [["g1", "g2"]]


async def test_what_no_locator_speaks_of_is_not_known(engine: Engine) -> None:
    engine.plugins.locators.update(one=Knowing("one", 1, "g1"), two=Knowing("two", 1))
    found = await engine.placing.inputs.ask(ASKED, [HERE])
    assert (found["g1"].total, found["g2"].total) == (Held(1, 10), None)
    assert "said nothing of this group" in found["g2"].problem


class Queue:
    """A probe that sees so many bytes wait to be sent from THERE to HERE, and some from nowhere."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    async def look(self, facility: FacilityInfo, host: Host) -> FacilityReport:
        """See `FacilityProbe`."""
        here = facility.name == HERE
        return FacilityReport(backlog={THERE: self.size, "nowhere": 7} if here else {})


async def test_what_waits_on_a_link_is_told_to_selectors(house: House) -> None:
    for name in (HERE, THERE):
        other = THERE if name == HERE else HERE
        house.infos[name] = replace(house.infos[name], links={other: 100.0})
    probes = {name: Queue(name, size) for name, size in (("one", 40), ("two", 2), ("bad", -1))}
    house.plugins.probes.update(probes)
    async with house.running() as engine:
        for name in (HERE, THERE):
            await engine.live.look(name)
        views = engine.placing.facility_views([])
    links = {view.info.name: view.links for view in views}
    assert links == {HERE: {THERE: Link(100.0, 42)}, THERE: {HERE: Link(100.0)}}
