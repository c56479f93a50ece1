"""Figures for Prometheus, read off a real engine."""

from dataclasses import replace

import pytest
from engine_house import HERE, THERE, House, step, until

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.policy import JobTemplate, PlacementPlan
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.observe.metrics import registry

LANE = {"facility": HERE, "driver": "fake"}


def figure(name: str, **labels: str) -> float | None:
    """The value of one series; None if there is none."""
    return registry.get_sample_value(name, labels)


def series(name: str, campaign: str) -> dict[str, float]:
    """The series of a campaign, by their other label."""
    found: dict[str, float] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if sample.name == name and sample.labels.get("campaign") == campaign:
                (other,) = [value for key, value in sample.labels.items() if key != "campaign"]
                found[other] = sample.value
    return found


async def test_groups_jobs_and_lanes_are_told_and_go_with_the_archived(house: House) -> None:
    house.limits[HERE] = 2
    async with house.running() as engine:
        ident = await house.apply("big", one=step(5, fake={"run_s": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 2)
        await until(lambda: len(house.jobs("READY")) == 3)
        engine.figures.set()
        groups = series("cmd_groups", "big")
        assert sum(groups.values()) == 5
        assert groups["RUNNING"] == 2
        assert series("cmd_jobs", "big")["RUNNING"] == 2
        assert figure("cmd_campaign_running", campaign="big") == 1
        assert figure("cmd_lane_jobs", state="flying", **LANE) == 2
        assert figure("cmd_lane_jobs", state="ready", **LANE) == 3
        await engine.ask(ev.CampaignCancelled(campaign_id=ident, actor="me", reason="enough"))
        await house.reach("CANCELLED", "big")
        engine.figures.set()
        assert figure("cmd_campaign_running", campaign="big") == 0
        assert series("cmd_groups", "big")["CANCELLED"] == 5
        await engine.ask(ev.CampaignArchived(campaign_id=ident, actor="me", reason="done"))
        engine.figures.set()
        for name in ("cmd_groups", "cmd_jobs", "cmd_campaign_share"):
            assert series(name, "big") == {}
        assert figure("cmd_campaign_running", campaign="big") is None


async def test_a_command_without_an_answer_grows_old_over_a_restart(house: House) -> None:
    async with house.running() as engine:
        ident = await house.apply("late", one=step(2, fake={"run_s": None, "balks": None}))
        await until(lambda: len(house.jobs("RUNNING")) == 2)
        await engine.ask(ev.CampaignPaused(campaign_id=ident, actor="me", reason="wait"))
        await until(lambda: all(job.commands for job in house.jobs("RUNNING")))
        await house.told()
        engine.figures.set()
        assert figure("cmd_calls_waiting", verb="pause", **LANE) == 2
        assert figure("cmd_calls_waiting", verb="submit", **LANE) == 0
        begun = min(effect.at for effect in (await house.store.load_open()).effects.values())
    async with house.running() as engine:
        known = house.clock.now()
        engine.figures.set()
        assert figure("cmd_calls_waiting", verb="pause", **LANE) == 2
        age = figure("cmd_oldest_call_seconds", **LANE)
        assert age is not None
        assert age >= (known - begun) / 1e6


async def test_shares_stand_beside_their_targets(house: House) -> None:
    wanted = {HERE: 3.0, THERE: 1.0}
    plan = PlacementPlan("share", (HERE, THERE), shares=wanted)
    async with house.running() as engine:
        await house.apply("spread", one=replace(step(8), placement=plan), two=step(4, "one"))
        await house.reach("ACCEPTED", "spread")
        engine.figures.set()
        assert series("cmd_campaign_share_target", "spread") == {HERE: 0.75, THERE: 0.25}
        share = series("cmd_campaign_share", "spread")
        assert sum(share.values()) == pytest.approx(1.0)
        ident = engine.view.campaign_ids["spread"]
        placed = engine.placing.placed(ident)
        assert share == {name: count / 12 for name, count in placed.items()}


async def test_bytes_are_counted_once_by_the_transfer_that_succeeded(house: House) -> None:
    entry = {"source": "FIG", "destination": "NEU", "type": "coadd", "arrived": 1, "bytes": 30}
    labels = {"source": "FIG", "destination": "NEU"}

    def job(name: str, kind: JobKind, ok: bool = True) -> JobTemplate:
        return JobTemplate(name, kind, {"fake": {"ok": ok, "extra": {"books": [entry]}}})

    jobs = (job("keep", JobKind.TRANSFER), job("keep-ingest", JobKind.INGEST))
    async with house.running():
        await house.apply("moves", one=replace(step(2), jobs=jobs))
        await house.reach("ACCEPTED", "moves")
        await house.told()
        assert figure("cmd_bytes_moved_total", **labels) == 60
        bad = (job("keep", JobKind.TRANSFER, ok=False),)
        await house.apply("fails", one=replace(step(1), jobs=bad))
        await until(lambda: house.groups("HELD"))
        await house.told()
        assert figure("cmd_bytes_moved_total", **labels) == 60
