"""StatisticsService: what a real campaign adds up to, and questions that cannot be answered."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from api_house import DEADLINE_S, House, config, serving
from google.protobuf.timestamp_pb2 import Timestamp

from cm_client import InvalidArgument, InvalidName, NotFound
from cmd_daemon.api.causes import causes_of, pattern_of
from cmd_daemon.kernel.records import FailureRow
from cmd_daemon.testing.world import Behaviour

CAMP = "campaigns/camp"


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[House]:
    """A campaign of three groups: one is done, the attempts of two failed in two ways."""
    async with serving(config(tmp_path)) as house:
        for group, number in (("2", 1234), ("3", 99)):
            house.world.behaviours[f"camp/one/{group}/process#1"] = Behaviour(
                ok=False,
                exit_code=137,
                message=f"out of memory at {number} kB in /tmp/x/{group}.log",
            )
        text = (
            "campaign: camp\nowner: me\nstack: w1\n"
            "butler: {repo: demo, inputs: [a], output: u/me/camp}\nfacilities: [USDF]\n"
            "defaults: {retry: {attempts: 1}}\n"
            'steps: {one: {pipeline: x.yaml, split: {by: tract, ranges: ["1..3"]}}}\n'
        )
        await house.client.apply_campaign(text, start=True)
        await ended(house)
        yield house


async def ended(house: House) -> None:
    """Wait until one group is ACCEPTED and two are HELD."""
    end = time.monotonic() + DEADLINE_S
    counts: dict[str, int] = {}
    while counts != {"ACCEPTED": 1, "HELD": 2}:
        assert time.monotonic() < end, counts
        await asyncio.sleep(0.01)
        told = (await house.client.get_campaign(CAMP)).group_counts
        counts = {state: number for state, number in told.items() if number}


async def test_a_campaign_adds_up(failing: House) -> None:
    cm = failing.client
    counts = (await cm.get_group_counts(CAMP)).counts
    assert {(c.state, c.facility, c.count) for c in counts} == {
        ("ACCEPTED", "facilities/USDF", 1), ("HELD", "facilities/USDF", 2),
    }  # fmt: skip
    assert {c.step for c in counts} == {f"{CAMP}/steps/one"}
    cut = (await cm.get_group_counts(f"{CAMP}/steps/one", slices=3)).counts
    assert [(c.slice, c.first) for c in cut] == [(1, "1"), (2, "2"), (3, "3")]
    activity = await cm.get_activity(CAMP, spans=7)
    (part,) = activity.parts
    jobs = (await cm.list_jobs(CAMP)).jobs
    assert sum(part.begun) == sum(job.attempt for job in jobs)
    assert (sum(part.succeeded), sum(part.failed), sum(part.cancelled)) == (2, 2, 0)
    assert {len(part.begun), len(part.bytes), activity.spans} == {7}
    assert activity.span > 0


async def test_causes_are_put_together_and_lead_to_the_last(failing: House) -> None:
    told = await failing.client.get_failure_causes(CAMP)
    (cause,) = told.causes
    assert cause.pattern == "out of memory at <n> kB in <path>"
    assert (cause.count, told.total, cause.exit_code) == (2, 2, 137)
    assert dict(cause.facilities) == {"USDF": 2}
    assert dict(cause.steps) == {"one": 2}
    attempts = (await failing.client.list_attempts(cause.job)).attempts
    assert attempts[cause.attempt - 1].message == cause.message
    none = await failing.client.get_failure_causes(CAMP, max_causes=1)
    assert len(none.causes) == 1


async def test_times_may_be_chosen(failing: House) -> None:
    cm = failing.client
    whole = await cm.get_activity(CAMP)
    end = Timestamp(seconds=whole.start_time.seconds - 1000)
    start = Timestamp(seconds=end.seconds - 100)
    before = await cm.get_activity(CAMP, spans=10, start_time=start, end_time=end)
    assert list(before.parts) == []
    assert before.span == pytest.approx(10)
    with pytest.raises(InvalidArgument, match="end_time"):
        await cm.get_activity(CAMP, start_time=end, end_time=start)
    with pytest.raises(InvalidArgument, match="start_time"):
        await cm.get_activity(CAMP, start_time=Timestamp(seconds=-5))


async def test_one_that_has_not_begun_has_nothing(house: House) -> None:
    await house.applied(start=False)
    assert list((await house.client.get_group_counts(CAMP)).counts) == []
    assert list((await house.client.get_activity(CAMP)).parts) == []
    assert list((await house.client.get_failure_causes(CAMP)).causes) == []
    assert list((await house.client.get_ways()).ways) == []
    assert list((await house.client.get_ways(CAMP)).ways) == []


async def test_numbers_out_of_range_and_other_names_are_refused(full: House) -> None:
    cm = full.client
    for call, field in (
        (cm.get_group_counts(CAMP, slices=501), "slices"),
        (cm.get_group_counts(CAMP, slices=-1), "slices"),
        (cm.get_activity(CAMP, spans=501), "spans"),
        (cm.get_failure_causes(CAMP, max_causes=501), "max_causes"),
    ):
        with pytest.raises(InvalidArgument, match=field) as error:
            await call
        assert error.value.code == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(InvalidName):
        await cm.get_activity(f"{CAMP}/steps/one/groups/1")
    with pytest.raises(NotFound):
        await cm.get_ways("campaigns/nobody")


async def test_the_shares_of_a_step_are_told(house: House) -> None:
    text = (
        "campaign: camp\nowner: me\nstack: w1\n"
        "butler: {repo: demo, inputs: [a], output: u/me/camp}\nfacilities: [USDF]\n"
        "placement: {shares: {USDF: 1.0}}\nsteps: {one: {pipeline: x.yaml}}\n"
    )
    await house.client.apply_campaign(text)
    (step,) = (await house.client.list_steps(CAMP)).steps
    assert dict(step.shares) == {"USDF": 1.0}


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("found 3, at least 10 needed", "found <n>, at least <n> needed"),
        ("visit=1010 detector=1.5e-3", "visit=<n> detector=<n>"),
        ("dataset 0b5cdd8a-9c1c-4a5f-9a55-53b26e8c1d55 is gone", "dataset <uuid> is gone"),
        ("at 2026-11-29T06:40:01.5Z on node12", "at <time> on node12"),
        ("cannot open /sdf/data/rubin/x.fits: no such file", "cannot open <path>: no such file"),
        ("root://host.example:1094//store/a/b failed", "<path> failed"),
        ("object at 0x7f3a21", "object at <hex>"),
        ("commit deadbeef01 and facade", "commit <hex> and facade"),
        ("two\n  lines\tof it", "two lines of it"),
        ("w_2026_40 and step1 stay", "w_2026_40 and step1 stay"),
        ("", ""),
    ],
)
def test_what_differs_becomes_a_placeholder(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


def _failure(message: str, count: int, last: int, **more: object) -> FailureRow:
    given = {"step": "s", "facility": "A", "exit_code": 1, **more}
    return FailureRow(
        message=message,
        task="isr",
        error_class=None,
        count=count,
        first_at=last - 5,
        last_at=last,
        group=f"g{last}",
        job="process",
        attempt=1,
        total=99,
        **given,  # type: ignore[arg-type]
    )


def test_the_most_frequent_cause_comes_first() -> None:
    few, many = causes_of(
        [
            _failure("bad pixel 1", 2, 100),
            _failure("bad pixel 2", 3, 300, facility="B"),
            _failure("bad pixel 3", 1, 200, step="t"),
            _failure("killed", 7, 50),
            _failure("killed", 1, 60, exit_code=None),
        ]
    )[1::-1]
    assert (many.pattern, many.count) == ("killed", 7)
    assert (few.pattern, few.count, few.first_at) == ("bad pixel <n>", 6, 95)
    assert few.last.group == "g300"
    assert few.facilities == {"A": 3, "B": 3}
    assert few.steps == {"s": 5, "t": 1}
