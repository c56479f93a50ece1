"""FacilityService against a running daemon: what it shows, limits, the kill switch and its end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from api_house import (
    DEADLINE_S,
    House,
    campaign_file,
    config,
    error_info,
    methods,
    request_of,
    serving,
    until,
)

from cmd_api.v1 import facility_pb2 as pb
from cmd_api.v1 import group_pb2
from cmd_daemon.testing import Behaviour, FakeProbe

USDF = "facilities/USDF"
GIB = 2**30
METHODS = {method.name: method for method in methods()}


@pytest.fixture
async def queued(tmp_path: Path) -> AsyncIterator[House]:
    """A daemon with two memory classes and a storage element, looked at often."""
    settings = config(tmp_path)
    raw = settings.model_dump()
    raw["daemon"]["probe_s"] = 0.05
    raw["facility"]["USDF"] |= {
        "queues": {"small": {"slots": 2, "memory": "3 GB"}, "big": {"slots": 1, "memory": "8 GB"}},
        "storage": {"disk": "/data"},
    }
    async with serving(type(settings).model_validate(raw)) as house:
        yield house


async def call(house: House, method: str, **fields: Any) -> Any:
    """Call a method of FacilityService about USDF."""
    found = METHODS[method]
    return await house.raw(found, request_of(found, name=USDF, **fields))


async def denied(house: House, method: str, **fields: Any) -> tuple[str, str, str]:
    """Status, field or reason, and words of a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        await call(house, method, **fields)
    info = error_info(caught.value)
    field = info.metadata.get("field", info.reason)
    return caught.value.code().name, field, caught.value.details() or ""


async def seen(house: House, true: Callable[[pb.Facility], Any]) -> pb.Facility:
    """The facility, once it is as it should be."""
    end = time.monotonic() + DEADLINE_S
    while not true(facility := await call(house, "GetFacility")):
        assert time.monotonic() < end, facility
        await asyncio.sleep(0.01)
    assert isinstance(facility, pb.Facility)
    return facility


def held(facility: pb.Facility) -> int:
    """Groups of the step `one` that are held there."""
    return sum(load.held for load in facility.load if load.step == "campaigns/camp/steps/one")


async def test_what_is_shown(queued: House) -> None:
    queued.world.behaviours[""] = Behaviour(run_s=None)
    await queued.applied(count=4)
    facility = await seen(queued, lambda f: f.load and f.load[0].running == 2)
    assert [(q.queue, q.slots, q.memory, q.running, q.ready) for q in facility.queues] == [
        ("small", 2, 3 * 10**9, 2, 2),
        ("big", 1, 8 * 10**9, 0, 0),
    ]
    assert facility.up
    assert not facility.down_reason
    assert facility.transport == "local"
    (load,) = facility.load
    assert load.step == "campaigns/camp/steps/one"
    assert (load.placed, load.running, load.held, load.finished) == (2, 2, 0, 0)
    explain = METHODS["ExplainEntity"]
    waiting = await queued.client.list_groups(
        "campaigns/camp/steps/one", states=[group_pb2.Group.STATE_PLACED]
    )
    why = await queued.raw(explain, request_of(explain, name=waiting.groups[0].name))
    assert why.summary == "PLACED: waits for a slot in queue small of USDF: 2 of 2 are taken"
    (listed,) = (await queued.client.list_facilities()).facilities
    assert not listed.load
    assert listed.queues == facility.queues


async def test_storage_and_checks(queued: House) -> None:
    probe = queued.daemon.engine.plugins.probes["fake"]
    assert isinstance(probe, FakeProbe)
    facility = await seen(queued, lambda f: any(c.check == "fake" for c in f.checks))
    (check,) = [c for c in facility.checks if c.check == "fake"]
    assert check.ok
    assert check.look_time.seconds
    probe.fill("USDF", "disk", 0, 10)
    facility = await seen(queued, lambda f: any(s.total == 10 for s in f.storage))
    (disk,) = [s for s in facility.storage if s.total == 10]
    assert (disk.element, disk.HasField("free"), disk.free) == ("disk", True, 0)
    probe.fail("USDF", "agent", "no answer")
    facility = await seen(queued, lambda f: not f.up)
    assert "check agent fails: no answer" in facility.down_reason
    probe.heal("USDF")
    await seen(queued, lambda f: f.up)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"slots": 0}, "limits.slots"),
        ({"slots": 10**7}, "limits.slots"),
        ({"memory": -1}, "limits.memory"),
        ({"cores": 0}, "limits.cores"),
        ({"walltime": float("nan")}, "limits.walltime"),
        ({"walltime": -1.0}, "limits.walltime"),
        ({"walltime": float("inf")}, "limits.walltime"),
        ({"lanes": {"nobody": 1}}, "limits.lanes"),
        ({"lanes": {"fake": 0}}, "limits.lanes.fake"),
        ({"queues": {"huge": 1}}, "limits.queues"),
        ({"queues": {"small": -1}}, "limits.queues.small"),
        ({}, "limits"),
    ],
)
async def test_limits_that_cannot_be(queued: House, limits: dict[str, Any], field: str) -> None:
    before = await call(queued, "GetFacility")
    code, named, _ = await denied(queued, "UpdateFacility", limits=limits)
    assert (code, named) == ("INVALID_ARGUMENT", field)
    after = await call(queued, "GetFacility")
    assert (after.etag, after.slots, after.edited) == (
        before.etag,
        before.slots,
        pb.FacilityLimits(),
    )


async def test_limits_are_edited_and_reset(queued: House) -> None:
    before = await call(queued, "GetFacility")
    changed = await call(
        queued,
        "UpdateFacility",
        limits={"slots": 7, "walltime": 60.0, "queues": {"small": 5}},
        etag=before.etag,
        reason="new racks",
    )
    assert (changed.slots, changed.walltime, changed.memory) == (7, 60.0, before.memory)
    assert {q.queue: q.slots for q in changed.queues} == {"small": 5, "big": 1}
    assert {d.limit for d in changed.drivers} == {7}
    assert not changed.drained
    code, reason, _ = await denied(
        queued, "UpdateFacility", limits={"slots": 8}, etag=before.etag, reason="late"
    )
    assert (code, reason) == ("ABORTED", "ETAG_MISMATCH")
    more = await call(queued, "UpdateFacility", limits={"lanes": {"fake": 3}})
    assert more.edited == pb.FacilityLimits(
        slots=7, walltime=60.0, queues={"small": 5}, lanes={"fake": 3}
    )
    assert {d.limit for d in more.drivers} == {3}
    reset = await call(queued, "UpdateFacility", limits={"cores": 2}, reset=True)
    assert reset.edited == pb.FacilityLimits(cores=2)
    assert (reset.slots, reset.cores) == (before.slots, 2)
    told = await queued.client.list_events(kinds=["facility"])
    assert next((e.cause, e.from_state, e.to_state, e.reason) for e in told.events) == (
        "FacilityLimited",
        "ACTIVE",
        "ACTIVE",
        "new racks",
    )


async def test_kill_and_revive(queued: House) -> None:
    queued.world.behaviours[""] = Behaviour(run_s=None)
    await queued.applied(count=4)
    await seen(queued, lambda f: f.running == 2)
    assert (await denied(queued, "KillFacility", reason=" "))[:2] == ("INVALID_ARGUMENT", "reason")
    facility = await call(queued, "KillFacility", reason="smoke", request_id="k1")
    assert (facility.killed, facility.drained, facility.up) == (True, True, False)
    assert (facility.reason, facility.actor) == ("smoke", facility.actor)
    assert facility.down_reason.startswith("stopped by the kill switch by ")
    await call(queued, "KillFacility", reason="smoke", request_id="k1")
    assert (await denied(queued, "KillFacility", reason="again"))[:2] == (
        "FAILED_PRECONDITION",
        "STATE_REFUSED",
    )
    assert "revive" in (await denied(queued, "UndrainFacility", reason="x"))[2]
    facility = await seen(queued, lambda f: held(f) == 4 and not f.ending)
    assert all(queued.world.over(attempt) for attempt in queued.world.attempts.values())
    groups = (await queued.client.list_groups("campaigns/camp/steps/one")).groups
    words = f"stopped by the kill switch at USDF by {facility.actor}: smoke"
    assert {group.reason for group in groups} == {words}
    explain = METHODS["ExplainEntity"]
    why = await queued.raw(explain, request_of(explain, name=groups[0].name))
    assert words in why.summary
    assert "cm revive USDF --retry" in why.actions
    queued.world.behaviours[""] = Behaviour()
    facility = await call(queued, "ReviveFacility", retry=True, reason="put out")
    assert (facility.killed, facility.drained, facility.up) == (False, False, True)
    assert (await denied(queued, "ReviveFacility"))[:2] == ("FAILED_PRECONDITION", "STATE_REFUSED")
    await queued.reach("campaigns/camp/steps/one", "ACCEPTED")


async def test_groups_stopped_by_a_kill_wait_for_persons(queued: House) -> None:
    queued.world.behaviours[""] = Behaviour(run_s=None)
    text = campaign_file(count=2)
    await queued.client.apply_campaign(text, start=True)
    await seen(queued, lambda f: f.running == 2)
    await call(queued, "KillFacility", reason="smoke")
    await seen(queued, lambda f: held(f) == 2 and not f.ending)
    queued.world.behaviours[""] = Behaviour()
    await call(queued, "ReviveFacility")
    first, second = (await queued.client.list_groups("campaigns/camp/steps/one")).groups
    assert first.state == second.state == group_pb2.Group.STATE_HELD
    await queued.client.retry_group(first.name)
    await queued.client.release_group(second.name)
    await queued.reach("campaigns/camp/steps/one", "ACCEPTED")


async def test_a_drain_says_who_and_why(queued: House) -> None:
    facility = await call(queued, "DrainFacility", reason="power")
    assert not facility.up
    assert facility.down_reason == f"drained by {facility.actor}: power"
    facility = await call(queued, "UndrainFacility")
    await until(lambda: queued.daemon.engine.live.up("USDF")[0])
    assert facility.up
