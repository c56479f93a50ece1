"""ControlJob: what it takes and refuses, and what jobs and campaigns show of it."""

import asyncio
import contextlib
import time
from typing import Any

import grpc
import pytest
from api_house import DEADLINE_S, House, methods, refusal, request_of
from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.job_pb2 import Job

from cm_client import EtagMismatch, NotFound, StateRefused
from cmd_daemon.testing.world import Behaviour

GROUP = "campaigns/one/steps/one/groups/1"
JOB = f"{GROUP}/jobs/process"
(METHOD,) = [m for m in methods() if m.name == "ControlJob"]


async def begin(house: House, **behaviour: Any) -> None:
    """The campaign `one` with its three process jobs seen running outside."""
    house.world.behaviours[""] = Behaviour(run_s=None, **behaviour)
    await house.applied("one")
    for number in (1, 2, 3):
        name = JOB.replace("groups/1", f"groups/{number}")
        await until_seen(house, lambda job: job.HasField("start_time"), name)


async def until_seen(house: House, true: Any, name: str = JOB) -> Job:
    """Wait until a job is seen to be so."""
    end = time.monotonic() + DEADLINE_S
    while True:
        job = None
        with contextlib.suppress(NotFound):
            job = await house.client.get_job(name)
        if job is not None and true(job):
            return job
        assert time.monotonic() < end, job
        await asyncio.sleep(0.01)


async def test_a_job_shows_its_commands_and_how_it_stands(house: House) -> None:
    await begin(house, balks=None)
    job = await house.client.control_job(JOB, paused=True, memory=2**30, reason="look")
    assert job.pause_wanted
    job = await until_seen(house, lambda job: job.commands and job.commands[0].message)
    assert job.standing == Job.STANDING_PAUSING
    first, second = job.commands
    assert (first.command, first.value, first.message) == ("pause", "", "asked for, not seen yet")
    assert first.give_up_time.seconds > time.time()
    assert (second.command, second.value) == ("memory", str(2**30))
    assert not second.HasField("give_up_time")
    for attempt in house.world.attempts.values():
        attempt.behaviour = Behaviour(run_s=None)
    job = await until_seen(house, lambda job: not job.commands)
    assert job.standing == Job.STANDING_PAUSED
    campaign = await house.client.get_campaign("campaigns/one")
    assert (campaign.in_flight, campaign.paused) == (3, 1)
    why = await house.client.explain_entity(JOB)
    assert why.summary.startswith("RUNNING: is paused at USDF (driver fake)")
    assert why.actions[0] == "cm resume one/one/1"


async def test_a_pause_of_a_campaign_shows_in_it(house: House) -> None:
    await begin(house)
    await house.client.pause_campaign("campaigns/one")
    await house.reach("campaigns/one", "PAUSED")
    campaign = await house.client.get_campaign("campaigns/one")
    assert (campaign.in_flight, campaign.paused) == (3, 3)
    with pytest.raises(StateRefused, match="Its campaign is paused"):
        await house.client.control_job(JOB, paused=False)
    campaign = await house.client.resume_campaign("campaigns/one")
    assert campaign.state == Campaign.STATE_RUNNING
    await until_seen(house, lambda job: job.standing == Job.STANDING_GOING)


BAD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no memory": {"memory": 0},
    "less than none": {"memory": -(2**62)},
    "more than there is": {"memory": 2**62},
    "an empty queue": {"queue": ""},
    "a queue of blanks": {"queue": "  "},
    "a queue of two lines": {"queue": "a\nb"},
    "a long queue": {"queue": "x" * 300},
    "one of two": {"paused": True, "memory": -1},
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_value_changes_nothing(house: House, what: str) -> None:
    await begin(house)
    before = await house.client.get_job(JOB)
    for name in (GROUP, JOB):
        request = request_of(METHOD, name=name, reason="x", **BAD[what])
        told = await refusal(house.raw(METHOD, request))
        assert told == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert await house.client.get_job(JOB) == before
    assert house.world.calls["control"] == 0


async def test_values_need_a_reason_and_pauses_do_not(house: House) -> None:
    await begin(house)
    for values in ({"priority": 0}, {"memory": 2**30}, {"queue": "q"}):
        told = await refusal(house.raw(METHOD, request_of(METHOD, name=JOB, **values)))
        assert told == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    await house.client.control_job(JOB, paused=True)


async def test_what_is_not_outside_takes_no_commands(house: House) -> None:
    await begin(house)
    with pytest.raises(StateRefused, match="only an attempt that is outside"):
        await house.client.control_job(f"{GROUP}/jobs/collect", paused=True)
    await house.client.cancel_campaign("campaigns/one")
    await house.reach("campaigns/one", "CANCELLED")
    for name in (JOB, GROUP):
        with pytest.raises(StateRefused, match="which is final"):
            await house.client.control_job(name, paused=True)


async def test_etags_are_of_what_is_named(house: House) -> None:
    await begin(house)
    job, group = await house.client.get_job(JOB), await house.client.get_group(GROUP)
    for name, etag in ((JOB, "stale"), (GROUP, "stale")):
        with pytest.raises(EtagMismatch):
            await house.client.control_job(name, paused=True, etag=etag)
    await house.client.control_job(GROUP, paused=True, etag=group.etag)
    job = await until_seen(house, lambda seen: seen.etag != job.etag and not seen.commands)
    await house.client.control_job(JOB, paused=False, etag=job.etag)


async def test_a_repeated_command_is_answered_when_all_is_over(house: House) -> None:
    await begin(house)
    request = request_of(METHOD, name=GROUP, paused=True, request_id="once")
    await house.raw(METHOD, request)
    await house.client.cancel_campaign("campaigns/one")
    await house.reach("campaigns/one", "CANCELLED")
    again = await house.raw(METHOD, request)
    assert again.state == Job.STATE_CANCELLED
