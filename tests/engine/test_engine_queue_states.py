"""What an outside system says of its queues reaches the facility views that placement goes by."""

from dataclasses import replace
from typing import Any

import pytest
from engine_house import HERE, House

from cmd_daemon.engine.facilities import narrowed
from cmd_daemon.hooks import FacilityReport, FacilityView, Queue, QueueState
from cmd_daemon.testing import FakeProbe

GIB = 2**30
SMALL, BIG = Queue("small", 20, 4 * GIB), Queue("big", 10, 16 * GIB)


@pytest.fixture
def probe(house: House) -> FakeProbe:
    """The house's probe."""
    found = house.plugins.probes["fake"]
    assert isinstance(found, FakeProbe)
    return found


async def _view(house: House, *told: Any) -> FacilityView:
    """HERE as placement sees it after a look."""
    probe = house.plugins.probes["fake"]
    assert isinstance(probe, FakeProbe)
    for each in told:
        probe.tell_queue(HERE, each)
    async with house.running() as engine:
        await engine.live.look(HERE)
        views = engine.placing.facility_views([])
    return next(view for view in views if view.info.name == HERE)


async def test_smaller_limits_and_larger_loads_hold(house: House) -> None:
    house.infos[HERE] = replace(house.infos[HERE], queues=(SMALL, BIG))
    told = QueueState("big", True, running=7, queued=3, memory=8 * GIB, walltime_s=7200.0)
    view = await _view(house, told)
    assert view.queues == (
        SMALL,
        replace(BIG, running=7, queued=3, memory=8 * GIB, walltime_s=7200.0),
    )


async def test_a_class_that_takes_no_jobs_is_left_out(house: House) -> None:
    house.infos[HERE] = replace(house.infos[HERE], queues=(SMALL, BIG))
    view = await _view(house, QueueState("big", online=False))
    assert view.queues == (SMALL,)


async def test_without_any_class_online_they_all_stay(house: House) -> None:
    """A view without classes would say that the configuration's limits hold."""
    house.infos[HERE] = replace(house.infos[HERE], queues=(BIG,))
    view = await _view(house, QueueState("big", online=False, memory=8 * GIB))
    assert view.queues == (replace(BIG, memory=8 * GIB),)


async def test_a_facility_without_classes_has_one_as_told(house: House) -> None:
    info = house.infos[HERE]
    view = await _view(house, QueueState("", running=40, queued=2, memory=2 * GIB, cores=1))
    (queue,) = view.queues
    assert (queue.slots, queue.running, queue.queued) == (info.slots, 40, 2)
    assert (queue.memory, queue.cores, queue.walltime_s) == (2 * GIB, 1, info.walltime_s)


async def test_nothing_told_changes_nothing(house: House) -> None:
    assert (await _view(house)).queues == ()


async def test_nonsense_is_a_check_that_fails(house: House, probe: FakeProbe) -> None:
    async def look(*_: Any) -> FacilityReport:
        return FacilityReport(queues=(QueueState("big", running=-1),))

    probe.look = look  # type: ignore[method-assign]
    async with house.running() as engine:
        await engine.live.look(HERE)
        failed = [check for check, _ in engine.live.checks_seen(HERE) if not check.ok]
    assert [check.name for check in failed] == ["fake"]
    assert "-1" in failed[0].message


def test_a_class_is_never_made_larger() -> None:
    told = QueueState("big", memory=64 * GIB, cores=128, walltime_s=1e7)
    assert narrowed(BIG, told) == BIG
