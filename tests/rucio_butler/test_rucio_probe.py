"""The look at Rucio: queues by link, one answer for all facilities, and no work kept away."""

import asyncio
from pathlib import Path

import pytest
from test_rucio_contract import section

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_daemon.testing import FakeHost, facility_info
from cmd_rucio_butler import probe
from cmd_rucio_butler.probe import RucioProbe
from cmd_rucio_butler.sharing import Servers


class Queues:
    """A server with these queues."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = self.hangs = False

    async def backlog(self) -> dict[tuple[str, str], int]:
        self.asked += 1
        if self.fails:
            raise DriverError(ErrorClass.PERMANENT, "Rucio at x: renew the credentials")
        if self.hangs:
            await asyncio.Event().wait()
        return {("US", "FR"): 5, ("US_RAW", "FR"): 70, ("US", "UK"): 3, ("XX", "FR"): 900}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Queues:
    """The server of all facilities."""
    made = Queues()

    class At:
        server = made

    monkeypatch.setattr(Servers, "at", lambda self, settings, who: At)
    return made


def host(directory: Path) -> FakeHost:
    """Three facilities with RSEs, of which two have links, and one without."""
    links = {"USDF": 1e9, "OTHER": 1e9, "gone": 1e9}
    infos = [
        facility_info(
            "USDF", settings={"rucio": section(directory, rse="US", input_rses=["US_RAW"])}
        ),
        facility_info("FrDF", settings={"rucio": section(directory, rse="FR")}, links=links),
        facility_info("UKDF", settings={"rucio": section(directory, rse="UK")}, links=links),
        facility_info("OTHER", links=links),
    ]
    return FakeHost(directory, {info.name: info for info in infos})


async def test_queues_are_told_by_link_and_one_answer_serves_all(
    tmp_path: Path, server: Queues
) -> None:
    looking, world = RucioProbe(), host(tmp_path)
    reports = await asyncio.gather(
        *(looking.look(world.facility(n), world) for n in ("USDF", "FrDF", "UKDF", "OTHER"))
    )
    assert [dict(each.backlog) for each in reports] == [
        {},
        {"USDF": 75, "OTHER": 0, "gone": 0},
        {"USDF": 3, "OTHER": 0, "gone": 0},
        {},
    ]
    assert [[(c.ok, c.vital) for c in each.checks] for each in reports] == [[(True, False)]] * 3 + [
        []
    ]
    assert server.asked == 1


@pytest.mark.parametrize(("how", "words"), [("fails", "renew"), ("hangs", "did not answer in 0 s")])
async def test_a_rucio_that_is_away_is_told_of_and_keeps_no_work_away(
    tmp_path: Path, server: Queues, how: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "ANSWER_S", 0.05)
    setattr(server, how, True)
    world = host(tmp_path)
    (check,) = (await RucioProbe().look(world.facility("FrDF"), world)).checks
    assert (check.ok, check.vital) == (False, False)
    assert words in check.message
