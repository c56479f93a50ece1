"""What PanDA tells of a facility: the credential, the queues with their load, and at what cost."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from panda_place import FACILITIES, PandaPlace

from cmd_daemon.hooks import Check, FacilityReport, Queue, QueueState
from cmd_panda.probe import PandaProbe

GIB = 2**30


async def look(place: PandaPlace, facility: str = "USDF", **changes: Any) -> FacilityReport:
    info = replace(place.info(facility), **changes)
    return await PandaProbe().look(info, place.host)


def check(report: FacilityReport, name: str) -> Check:
    return next(each for each in report.checks if each.name == name)


async def test_limits_and_load_of_the_queue(still: PandaPlace) -> None:
    still.server.pilot.hold()
    for _ in range(3):
        still.submit_outside(still.order())
    still.advance(120)
    report = await look(still)
    assert all(each.ok for each in report.checks), report.checks
    (state,) = report.queues
    assert state == QueueState("", True, 3, 0, 16000 * 2**20, 8, 259_200.0)


async def test_each_memory_class_has_its_queue(still: PandaPlace) -> None:
    section = still.section(queues={"big": "LANCS_Rubin"})
    classes = (Queue("small", 10, 4 * GIB), Queue("big", 2, 16 * GIB))
    still.server.world.queues["LANCS_Rubin"].status = "offline"
    report = await look(still, settings={"panda": section}, queues=classes)
    assert [(each.queue, each.online) for each in report.queues] == [
        ("small", True),
        ("big", False),
    ]
    told = check(report, "panda")
    assert (told.ok, told.vital) == (False, False), "the other class takes work"
    assert "queue LANCS_Rubin is offline" in told.message


@pytest.mark.parametrize("status", ["offline", "test", "brokeroff"])
async def test_without_any_queue_online_no_work_goes_there(still: PandaPlace, status: str) -> None:
    still.server.world.queues["SLAC_Rubin"].status = status
    told = check(await look(still), "panda")
    assert (told.ok, told.vital) == (False, True)
    assert f"queue SLAC_Rubin is {status}" in told.message


async def test_a_queue_that_is_not_there_is_told_of(still: PandaPlace) -> None:
    report = await look(still, settings={"panda": still.section(queue="SLAC_Rubbin")})
    told = check(report, "panda")
    assert (told.ok, told.vital) == (False, True)
    assert "no queue 'SLAC_Rubbin'" in told.message


async def test_two_calls_serve_all_facilities_for_a_minute(still: PandaPlace) -> None:
    drivers = [await still.driver(name) for name in FACILITIES]
    before = len(still.asked())
    for _ in range(3):
        await asyncio.gather(*(look(still, name) for name in FACILITIES))
    assert len(still.asked()) - before == 2
    still.advance(60)
    await look(still, "FrDF")
    assert len(still.asked()) - before == 4
    for driver in drivers:
        await driver.stop()


async def test_a_credential_is_told_of_days_ahead_and_vital_when_it_is_over(
    still: PandaPlace,
) -> None:
    still.write_token(3.5 * 86_400)
    soon = check(await look(still), "panda credential")
    assert (soon.ok, soon.vital) == (False, False)
    assert "expires in 3.5 days" in soon.message
    still.advance(4 * 86_400)
    over = check(await look(still), "panda credential")
    assert (over.ok, over.vital) == (False, True)
    assert "has expired" in over.message
    still.write_token()
    assert check(await look(still), "panda credential").ok


async def test_a_server_that_is_away_keeps_no_work_away_by_itself(still: PandaPlace) -> None:
    await asyncio.to_thread(still.server.stop)
    told = check(await look(still), "panda")
    assert (told.ok, told.vital) == (False, False)
    assert "cannot be reached" in told.message


async def test_nothing_is_told_of_a_facility_without_panda(still: PandaPlace) -> None:
    assert await look(still, settings={}) == FacilityReport()
    assert still.asked() == []
