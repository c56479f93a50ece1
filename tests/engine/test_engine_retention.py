"""Archived campaigns leave the database in chunks, while the engine goes on."""

import asyncio
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from engine_house import House, refused, step

from cmd_daemon.engine.retention import Retention
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.draft import Refused
from cmd_daemon.kernel.records import PlacementRow
from cmd_daemon.kernel.states import CampaignState, GroupState, JobState, StepState
from cmd_daemon.store import Store, removing
from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.portable import export, read
from cmd_daemon.testing import store_contract as rows

GROUPS = 10_000


def retention(house: House, directory: Path, after_days: float = 1.0) -> Retention:
    """What the daemon would run for `[retention]`."""
    store = house.store
    return Retention(
        store,
        partial(export, store.reading),
        house.clock,
        house.engine.ask,
        after_days,
        directory,
    )


async def archived(house: House) -> None:
    """A database with an archived campaign of 10,000 groups and with 20,000 events."""
    store = await Store.open(house.url, clock=house.clock.now)
    ended = house.clock.now() - 2 * 86_400_000_000
    batch = rows.made(
        rows.campaign(state=CampaignState.ARCHIVED, finished_at=ended),
        rows.step(state=StepState.ACCEPTED),
    )
    for n in range(GROUPS):
        group, job = rows.group(n, state=GroupState.ACCEPTED), rows.job(n, state=JobState.SUCCEEDED)
        batch.created |= {group.id: group, job.id: job}
        batch.attempts.append(rows.attempt(n))
        batch.placements.append(PlacementRow(group.id, ended, "USDF", "x", "daemon", "why"))
        for half in (1, 2):
            batch.records.append(rows.record(2 * n + half, "job", group_id=group.id, job_id=job.id))
    await store.commit(batch)
    await store.close()


async def test_transitions_go_on_while_ten_thousand_groups_are_removed(
    house: House, tmp_path: Path
) -> None:
    await archived(house)
    between: list[int] = []
    commits = 0

    def committed(point: str) -> None:
        nonlocal commits
        commits += point == "after-commit"

    house.on_commit = committed
    folder = tmp_path / "archive"
    async with house.running(checked=False) as engine:
        keeping = retention(house, folder)
        (campaign,) = await house.store.archived_before(house.clock.now())
        ident = await house.apply("busy", one=step(3, fake={"run_s": None}))
        remove_some = house.store.remove_some

        async def counted(campaign_id: int) -> bool:
            between.append(commits)
            return await remove_some(campaign_id)

        house.store.remove_some = counted  # type: ignore[method-assign]
        looking = asyncio.create_task(keeping.look())
        while not looking.done():
            await engine.ask(ev.CampaignPaused(campaign_id=ident, reason="lunch"))
            await engine.ask(ev.CampaignResumed(campaign_id=ident))
        await looking
        chunks = GROUPS // removing.GROUPS + 2 * GROUPS // removing.EVENTS + 1
        assert len(between) == chunks
        gaps = [later - sooner for sooner, later in pairwise(between)]
        print(f"{chunks} chunks, {sum(gaps)} commits between them")
        assert sum(gap > 0 for gap in gaps) > chunks / 2, gaps
        assert await house.store.get_campaign("c0") is not None
        assert await house.store.list_steps("c0") == []
        counted_rows = await house.store.recount(campaign.id)
        assert not counted_rows.groups
        assert not counted_rows.jobs
        (told,) = [r for r in await house.told() if r.name == "campaigns/c0"]
        assert told.cause == "CampaignRemoved"
        assert str(keeping.file_of(campaign)) in told.reason
        assert "not archived" in await refused(
            engine.ask(ev.CampaignRemoved(campaign_id=ident, campaign="busy", file="x")), Refused
        )
    history = read(keeping.file_of(campaign))
    assert len(history.rows["groups"]) == len(history.rows["attempts"]) == GROUPS
    assert len(history.rows["placements"]) == GROUPS
    assert len(history.rows["events"]) == 2 * GROUPS


async def test_what_was_cut_off_goes_on_and_what_is_young_stays(
    house: House, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    async with house.running() as engine:
        for name in ("old", "young"):
            ident = await house.apply(name, one=step(3))
            await house.reach("ACCEPTED", name)
            if name == "old":
                await engine.ask(ev.CampaignArchived(campaign_id=ident))
        last = (await house.told())[-1].seq
        keeping = retention(house, folder, after_days=0)
        (campaign,) = await house.store.archived_before(house.clock.now())
        folder.mkdir()
        half = folder / f"{keeping.file_of(campaign).name}.4711"
        half.write_bytes(b"half")
        await export(house.store.reading, "old", keeping.file_of(campaign))
        whole = keeping.file_of(campaign).read_bytes()
        assert await house.store.remove_some(campaign.id), "the daemon ends after the first chunk"
    async with house.running() as engine:
        await retention(house, folder, after_days=0).look()
        assert keeping.file_of(campaign).read_bytes() == whole, "written over by half a campaign"
        assert await house.store.list_steps("old") == []
        assert await house.store.list_steps("young")
        assert await house.store.archived_before(house.clock.now()) == []
        assert await house.store.last_seq() > last, "a sequence number may come twice"
        assert not await house.store.forget_decided()
        with pytest.raises(BadUrl, match="has left the database"):
            await export(house.store.reading, "old", tmp_path / "again.gz")
    assert list(folder.glob("*.gz")) == [keeping.file_of(campaign)]
