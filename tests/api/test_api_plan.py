"""PlanCampaign at several facilities: where groups would run, the bytes of their inputs, and why."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from api_house import House, config, serving

from cmd_api.v1 import campaign_pb2 as pb
from cmd_daemon.config import Config
from cmd_daemon.hooks.facilities import InputsHeld, InputsRequest
from cmd_daemon.hooks.placement import Held
from cmd_daemon.hooks.ports import Host

FILE = """\
campaign: chain
owner: me
stack: w1
butler: {repo: demo, inputs: [a], output: u/me/chain}
where: skymap = 'rings'
facilities: [USDF, FrDF, UKDF]
placement: {algorithm: balanced, region: tract, inputs: [raw]}
steps:
  check:
    before: [{script: check.sh}]
    split: {by: tract, values: [1, 2, 3]}
  visits:
    after: [check]
    pipeline: x.yaml
    split: {by: visit, within: tract, size: 2}
  all-sky:
    after: [visits]
    at: UKDF
    pipeline: y.yaml
"""
TRACTS = {"tract = 1": "USDF", "tract = 2": "FrDF", "tract = 3": "FrDF"}


class Locator:
    """Raws of tracts 2 and 3 are at FrDF, all others at USDF, which cannot be reached by links."""

    name = "test"

    def __init__(self) -> None:
        self.asked: list[InputsRequest] = []

    async def locate(
        self, requests: Sequence[InputsRequest], facilities: Sequence[str], host: Host
    ) -> Sequence[InputsHeld]:
        self.asked += requests
        homes = [
            next((home for tract, home in TRACTS.items() if tract in each.where), "USDF")
            for each in requests
        ]
        return [
            InputsHeld(each.group, {home: Held(10, 1000)}, {"UKDF": "no answer"})
            for each, home in zip(requests, homes, strict=True)
        ]


class Pairs:
    """An agent whose Butler has two visits on each tract, and one more on tracts 1 and 2."""

    async def call(self, op: str, args: Mapping[str, Any], timeout_s: float = 120.0) -> Any:
        rows = [[t, v] for t in (1, 2, 3) for v in (10 * t, 10 * t + 1)] + [[1, 99], [2, 99]]
        return {"dimensions": ["tract", "visit"], "rows": rows, "complete": True}

    async def close(self) -> None:
        pass


def three(root: Path) -> Config:
    """Facilities that data cannot be moved between, as their links say."""
    settings = config(root)
    usdf = settings.facility["USDF"]
    for name in ("FrDF", "UKDF"):
        fake = {"poll_s": 0.05, "world": root / "state" / name}
        settings.facility[name] = usdf.model_copy(update={"settings": {"fake": fake}})
    for name, section in list(settings.facility.items()):
        settings.facility[name] = section.model_copy(update={"links": {}})
    return settings


@pytest.fixture
async def wide(tmp_path: Path) -> AsyncIterator[House]:
    """A daemon with three facilities, a locator, and one agent."""
    async with serving(three(tmp_path)) as house:
        engine = house.daemon.engine
        engine.plugins.locators.clear()
        engine.plugins.locators["test"] = Locator()
        engine.host.agents["FrDF"] = Pairs()  # type: ignore[attr-defined]
        yield house


def table(step: pb.PlannedStep) -> list[tuple[str, int, int]]:
    return [(each.facility, each.group_count, each.input_bytes) for each in step.placements]


async def test_groups_go_where_their_inputs_are_and_visits_follow(wide: House) -> None:
    plan = await wide.client.plan_campaign(FILE)
    check, visits, all_sky = plan.steps
    assert table(check) == [("facilities/USDF", 1, 1000), ("facilities/FrDF", 2, 2000)]
    assert (check.output, check.job_names) == ("", ["before-1"])
    assert [(g.group, g.facility, g.region, g.input_bytes) for g in check.groups] == [
        ("1", "facilities/USDF", "tract/1", 1000),
        ("2", "facilities/FrDF", "tract/2", 1000),
        ("3", "facilities/FrDF", "tract/3", 1000),
    ]
    assert all(group.reason for group in check.groups)
    assert all(placement.reason for placement in check.placements)
    assert [(g.group, g.where) for g in visits.groups] == [
        ("1-0001", "(skymap = 'rings') AND (visit IN (10, 11))"),
        ("1-0002", "(skymap = 'rings') AND (visit = 99)"),
        ("2-0001", "(skymap = 'rings') AND (visit IN (20, 21))"),
        ("2-0002", "(skymap = 'rings') AND (visit = 99)"),
        ("3", "(skymap = 'rings') AND (visit IN (30, 31))"),
    ]
    assert "split by the places" in visits.note
    assert [(p.facility, p.group_count, p.HasField("input_bytes")) for p in all_sky.placements] == [
        ("facilities/UKDF", 1, False)
    ]
    before = (await wide.client.get_daemon()).last_seq
    assert before == 0
    assert not (await wide.client.list_campaigns()).campaigns


async def test_what_has_no_place_says_why(wide: House) -> None:
    await wide.client.drain_facility("facilities/USDF", reason="work on the cooling")
    plan = await wide.client.plan_campaign(FILE)
    nowhere = plan.steps[0].placements[-1]
    assert (nowhere.facility, nowhere.group_count) == ("", 1)
    assert "USDF" in nowhere.reason
    assert [g.facility for g in plan.steps[0].groups] == ["", "facilities/FrDF", "facilities/FrDF"]
    assert {g.region for g in plan.steps[1].groups} == {"tract/2", "tract/3"}


async def test_a_locator_that_fails_is_no_hindrance(wide: House) -> None:
    class Broken(Locator):
        async def locate(self, *args: Any) -> Sequence[InputsHeld]:
            raise RuntimeError("no idea")

    wide.daemon.engine.plugins.locators["test"] = Broken()
    plan = await wide.client.plan_campaign(FILE)
    assert sum(each.group_count for each in plan.steps[0].placements) == 3
    assert not any(each.HasField("input_bytes") for each in plan.steps[0].placements)
