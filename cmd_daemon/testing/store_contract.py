"""What every store must do, whatever database is below: subclass `StoreContract` and say how to open it.

class TestMyStore(StoreContract):
    async def open(self, tmp_path): ...
"""

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cmd_daemon.kernel.decision import Batch, Update
from cmd_daemon.kernel.entities import Campaign, Entity, Group, Job, Step
from cmd_daemon.kernel.policy import (
    ErrorRule,
    JobTemplate,
    PlacementPlan,
    Resources,
    RetryPolicy,
    RuleAction,
    SplitPlan,
    StepPolicy,
)
from cmd_daemon.kernel.records import (
    AttemptRow,
    AuditRow,
    CampaignFile,
    Effect,
    FacilityState,
    PlacedBefore,
    PlacementRow,
    Record,
    RequestRow,
)
from cmd_daemon.kernel.states import (
    CampaignState,
    GroupState,
    JobKind,
    JobState,
    Standing,
    StepState,
)
from cmd_daemon.store import RowRefused, Store, VersionConflict

NOW = 1_790_000_000_000_000
BASE = (1 << 62) + 7
"""Ids need 63 bits: a store that goes through floating point loses the last ones."""
HOSTILE = "'; DROP TABLE jobs; -- \" \\ % _ ? :x \n\t🌠 é́ \u202e"

POLICY = StepPolicy(
    after=("isr", "calibrate"),
    optional=True,
    breakpoint="look at it",
    jobs=(
        JobTemplate(
            "process", JobKind.PROCESS, {"pipeline": "a.yaml#b", "n": [1, {"x": None}]}, 60.5, "d"
        ),
    ),
    split=SplitPlan("values", {"tract": [1, 2]}),
    placement=PlacementPlan(
        "weighted",
        ("USDF", "FrDF"),
        None,
        "tract",
        {"USDF": 0.35},
        {"1": "UKDF"},
        inputs=("raw",),
        params={"margin": 0.5},
    ),
    resources=Resources(1 << 40, 8, 3.5),
    retry=RetryPolicy(5, 1.5, 2.5, 2.0, 1 << 41),
    at_least=0.97,
    errors=(ErrorRule(RuleAction.ACCEPT, "isr*", HOSTILE, 137, 0.02), ErrorRule(RuleAction.HOLD)),
    where=HOSTILE,
    stack="w_2026_40",
    butler="main",
    inputs=("u/a", "u/b"),
    output="u/out",
)


def campaign(n: int = 0, **fields: Any) -> Campaign:
    """A campaign; `n` tells it from others."""
    return Campaign(BASE + 1000 * n, fields.pop("name", f"c{n}"), "pilot", NOW, **fields)


def step(n: int = 1, **fields: Any) -> Step:
    """A step of campaign 0."""
    return Step(
        BASE + n, BASE, fields.pop("name", f"s{n}"), n, fields.pop("policy", POLICY), **fields
    )


def group(n: int, at: int = 1, **fields: Any) -> Group:
    """A group of step `at`; its one job is `job(n)`."""
    name = fields.pop("name", f"g{n}")
    ids = fields.pop("jobs", (BASE + 2000 + 2 * n + 1,))
    return Group(BASE + 2000 + 2 * n, BASE, BASE + at, name, "{}", ids, **fields)


def job(n: int, at: int = 1, **fields: Any) -> Job:
    """The job of group `n`."""
    ident, name = fields.pop("id", BASE + 2000 + 2 * n + 1), fields.pop("name", "process")
    return Job(ident, BASE, BASE + at, BASE + 2000 + 2 * n, name, JobKind.PROCESS, 0, **fields)


def record(seq: int, kind: str = "campaign", **fields: Any) -> Record:
    """An event of campaign 0 or of what `fields` name."""
    ids: dict[str, Any] = {"campaign_id": BASE, "step_id": None, "group_id": None, "job_id": None}
    told = {
        "kind": kind,
        "name": "campaigns/c0",
        "from_state": "A",
        "to_state": "B",
        "cause": "test",
    }
    return Record(**{**told, **ids, "actor": "me", "at": NOW, "seq": seq, **fields})


def effect(key: str, n: int = 0) -> Effect:
    """An effect of job `n`."""
    return Effect(key, "submit", job(n).id, 1, "USDF", "panda", NOW)


def attempt(n: int, number: int = 1) -> AttemptRow:
    """A finished attempt of job `n`."""
    times = (NOW, None, NOW + 1)
    return AttemptRow(
        job(n).id,
        number,
        "FAILED",
        "",
        "USDF",
        "panda",
        None,
        *times,
        1,
        None,
        HOSTILE,
        9,
        8,
        None,
        1 << 33,
    )


def made(*entities: Entity) -> Batch:
    """A batch that creates."""
    return Batch(created={e.id: e for e in entities})


def changed(entity: Any, **fields: Any) -> Any:
    """A copy of the entity in its next version."""
    other = copy.copy(entity)
    for name, value in fields.items():
        setattr(other, name, value)
    other.version = entity.version + 1
    return other


def moved(*entities: Entity) -> Batch:
    """A batch that writes entities over the version before theirs."""
    return Batch(updates={e.id: Update(e, e.version - 1) for e in entities})


class StoreContract:
    """The contract of `cmd_daemon.store.Store`."""

    async def open(self, tmp_path: Path) -> Store:
        """Open the store of this test; called again in a test, it opens the same database."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        """An open store that holds campaign 0 with step 1 and two groups of one job each."""
        store = await self.open(tmp_path)
        await store.commit(made(campaign(), step(), group(0), group(1), job(0), job(1)))
        yield store
        await store.close()

    async def test_entities_come_back_as_written(self, store: Store) -> None:
        whole_group = group(
            7,
            name=HOSTILE,
            jobs=(BASE + 1, 2, 3),
            held=True,
            region="r",
            facility="USDF",
            pinned="USDF",
        )
        whole_job = job(
            7, cancelling=True, progress="{}", due_at=NOW, fresh_from=2, ref=HOSTILE, attempt=3
        )
        whole_job.standing, whole_job.pause_wanted = Standing.PAUSED, True
        whole_job.commands = HOSTILE
        await store.commit(made(whole_group, whole_job, group(8, jobs=())))
        found = await store.get_group("c0", "s1", HOSTILE)
        assert found is not None
        assert (found.campaign, found.step_name, found.group) == ("c0", "s1", whole_group)
        assert isinstance(found.group.state, GroupState)
        there = await store.get_job("c0", "s1", HOSTILE, "process")
        assert there is not None
        assert (there.group_name, there.job) == (HOSTILE, whole_job)
        assert isinstance(there.job.state, JobState)
        assert there.job.cancelling is there.job.pause_wanted is True
        assert isinstance(there.job.standing, Standing)
        empty = await store.get_group("c0", "s1", "g8")
        assert empty is not None
        assert empty.group.jobs == ()
        row = await store.get_step("c0", "s1")
        assert row is not None
        assert row.step == step()
        of = await store.get_campaign("c0")
        assert of is not None
        assert of.campaign == campaign()

    async def test_updates_come_back_as_written(self, store: Store) -> None:
        new = (
            changed(
                campaign(),
                state=CampaignState.RUNNING,
                step_counts={"RUNNING": 1},
                open_steps=1,
                in_flight=3,
                paused=2,
            ),
            changed(
                step(), state=StepState.RUNNING, group_counts={"READY": 2}, policy=StepPolicy()
            ),
            changed(group(0), state=GroupState.PLACED, facility="FrDF", jobs=(1, 2)),
            changed(job(0), state=JobState.READY, driver="x", reason=HOSTILE),
        )
        await store.commit(moved(*new))
        loaded = await store.load_open()
        found: tuple[Any, ...] = (loaded.campaigns, loaded.steps, loaded.groups, loaded.jobs)
        assert tuple(rows[e.id] for rows, e in zip(found, new, strict=True)) == new

    async def test_lost_compare_and_set_writes_nothing_and_names_the_rows(
        self, store: Store
    ) -> None:
        await store.commit(moved(changed(job(1), state=JobState.READY)))
        late, fine = (
            changed(job(1), state=JobState.CANCELLED),
            changed(job(0), state=JobState.READY),
        )
        nowhere = changed(job(99))
        batch = moved(late, fine, nowhere)
        batch.records.append(record(1))
        with pytest.raises(VersionConflict) as caught:
            await store.commit(batch)
        assert [(r.id, r.expected, r.found) for r in caught.value.lost] == [
            (late.id, 1, 2),
            (nowhere.id, 1, None),
        ]
        assert "process" in str(caught.value)
        for alone in (late, nowhere):
            with pytest.raises(VersionConflict):
                await store.commit(moved(alone))
        loaded = await store.load_open()
        assert loaded.jobs[fine.id].state is JobState.WAITING
        assert loaded.last_seq == 0

    async def test_create_and_update_in_one_batch(self, store: Store) -> None:
        batch = made(group(5), job(5))
        batch.updates[BASE + 1] = Update(changed(step(), open_groups=3), 1)
        batch.records += [record(2, "group", group_id=group(5).id), record(1)]
        await store.commit(batch)
        loaded = await store.load_open()
        assert loaded.steps[BASE + 1].open_groups == 3
        assert group(5).id in loaded.groups
        assert [e.seq for e in await store.events()] == [1, 2]

    @pytest.mark.parametrize(
        "table",
        [
            "campaigns",
            "steps",
            "groups",
            "jobs",
            "campaign_files",
            "attempts",
            "placements",
            "effects",
            "requests",
            "events",
        ],
    )
    async def test_one_bad_row_anywhere_and_nothing_is_written(
        self, store: Store, table: str
    ) -> None:
        base = Batch(
            files=[CampaignFile(BASE, 1, NOW, "me", "t", "{}", "d")],
            attempts=[attempt(0)],
            effects={"k": effect("k")},
            requests=[RequestRow("r", "M", "d", b"\0", NOW)],
            records=[record(1)],
        )
        await store.commit(base)
        before = await self._everything(store)
        batch = moved(changed(job(0), state=JobState.READY))
        batch.created = {e.id: e for e in (campaign(3), step(3), group(30), job(30))}
        batch.records = [record(2)]
        batch.placements = [PlacementRow(group(0).id, NOW, "USDF", "pinned", "me", "")]
        batch.facilities = {"USDF": FacilityState("USDF", True, "", "me", NOW)}
        batch.effects = {"l": effect("l")}
        bad: dict[str, Entity] = {
            "campaigns": campaign(4, name="c0"),
            "steps": step(4, name="s1"),
            "groups": group(40, name="g0"),
            "jobs": job(0, id=BASE + 99_999),
        }
        if table in bad:
            batch.created[bad[table].id] = bad[table]
        batch.files += base.files if table == "campaign_files" else []
        batch.attempts += base.attempts if table == "attempts" else []
        batch.effects |= base.effects if table == "effects" else {}
        batch.requests += base.requests if table == "requests" else []
        batch.records += base.records if table == "events" else []
        if table == "placements":
            batch.placements.append(PlacementRow(1, NOW, None, "pinned", "me", "no such group"))
        with pytest.raises(RowRefused) as caught:
            await store.commit(batch)
        assert caught.value.table == table
        assert await self._everything(store) == before

    async def _everything(self, store: Store) -> object:
        names = [row.campaign.name for row in await store.list_campaigns()]
        beside = (await store.attempts(job(0).id), await store.placements(group(0).id))
        request = await store.find_request("r")
        return (await store.load_open(), await store.events(), names, beside, request)

    @pytest.mark.parametrize(
        "bad",
        [
            campaign(5, state="SLEEPING"),
            campaign(5, desired="NOTHING"),
            campaign(5, in_flight=-1),
            campaign(5, in_flight=1, paused=2),
            step(5, state="ARCHIVED"),
            step(5, unmet=-1),
            group(50, state="SUCCEEDED"),
            group(50, held=2),
            job(1, name="x", id=BASE + 5, state="ACCEPTED"),
            job(1, name="x", id=BASE + 5, version=0),
            job(1, name="x", id=BASE + 5, cancelling=7),
            job(1, name="x", id=BASE + 5, pause_wanted=7),
            job(1, name="x", id=BASE + 5, standing="ASLEEP"),
            step(5, name="\ud800"),
            group(50, name="\ud800"),
            step(5, policy=StepPolicy(split=SplitPlan("x", {"a": {1, 2}}))),
            step(5, policy=StepPolicy(split=SplitPlan("x", {"a": float("nan")}))),
            job(1, name="x", id=1 << 63),
            job(404),
        ],
        ids=lambda e: f"{type(e).__name__}",
    )
    async def test_impossible_rows_are_refused(self, store: Store, bad: Any) -> None:
        for name in ("state", "desired", "standing"):
            if type(getattr(bad, name, None)) is str:
                setattr(bad, name, _Word(getattr(bad, name)))
        before = await self._everything(store)
        with pytest.raises(RowRefused):
            await store.commit(made(campaign(8), bad))
        assert await self._everything(store) == before

    async def test_effects_are_made_done_and_made_again(self, store: Store) -> None:
        await store.commit(Batch(effects={"a": effect("a"), HOSTILE: effect(HOSTILE)}))
        again = effect("a")
        again.at, again.number = NOW + 5, 1 << 40
        await store.commit(Batch(effects={"a": again}, effects_done={"a", HOSTILE, "gone"}))
        assert (await store.load_open()).effects == {"a": again}

    async def test_facilities_are_written_over(self, store: Store) -> None:
        first = FacilityState("USDF", True, "power cut", "me", NOW, '{"jobs": 3}')
        await store.commit(Batch(facilities={"USDF": first}))
        second = FacilityState("USDF", False, "", "you", NOW + 1)
        await store.commit(Batch(facilities={"USDF": second}))
        assert await store.facility_states() == [second]
        assert (await store.load_open()).facilities == {"USDF": second}
        killed = FacilityState("FrDF", True, "smoke", "me", NOW, '{"slots": 3}', killed=True)
        await store.commit(Batch(facilities={"FrDF": killed}))
        assert await store.facility_states() == [killed, second]
        revived = FacilityState("FrDF", False, "", "me", NOW, '{"slots": 3}', reviving=True)
        await store.commit(Batch(facilities={"FrDF": revived}))
        assert (await store.load_open()).facilities == {"FrDF": revived, "USDF": second}

    async def test_history(self, store: Store) -> None:
        of_job = {"step_id": BASE + 1, "group_id": group(0).id, "job_id": job(0).id}
        other = {"campaign_id": BASE + 9, "step_id": BASE + 8}
        history = [
            record(5),
            record(6, "step", step_id=BASE + 1, reason=HOSTILE, detail='{"a": 1}', request_id="r"),
            record(7, "job", **of_job, attempt=2, facility="USDF"),
            record(8, "step", **other),
            record(9, "facility", campaign_id=None),
        ]
        await store.commit(Batch(records=history[::-1]))
        assert await store.events() == history
        assert await store.last_seq() == 9
        assert await store.events(after_seq=6, limit=2) == history[2:4]
        assert await store.events(backwards=True, limit=2) == history[:2:-1]
        assert await store.events(after_seq=8, backwards=True, limit=2) == history[2:0:-1]
        assert await store.events(campaign_id=BASE) == history[:3]
        assert await store.events(step_id=BASE + 1) == history[1:3]
        assert await store.events(job_id=job(0).id) == [history[2]]
        assert await store.events(group_id=group(0).id) == [history[2]]
        assert await store.events(campaign_id=BASE, kinds={"step", "campaign"}) == history[:2]
        assert await store.events(kinds={"job", "facility"}) == [history[2], history[4]]
        assert await store.events(job_id=1) == []

    async def test_what_is_written_beside(self, store: Store) -> None:
        files = [
            CampaignFile(BASE, v, NOW, "me", HOSTILE, "{}", "d", f"DM-{v}", "[]") for v in (1, 2)
        ]
        placed = [
            PlacementRow(group(0).id, NOW, at, "weighted", "me", "", "[]")
            for at in ("B", "A", None)
        ]
        answer = RequestRow("r", "Create", "d", bytes(range(256)), NOW)
        tries = [attempt(0, 2), attempt(0, 1), attempt(1, 1)]
        await store.commit(Batch(files=files, placements=placed, requests=[answer], attempts=tries))
        assert await store.campaign_file(BASE) == files[1]
        assert await store.campaign_file(BASE, 1) == files[0]
        assert await store.campaign_file(BASE, 3) is None
        of = await store.get_campaign("c0")
        assert of is not None
        assert of.ticket == "DM-1"
        assert await store.placements(group(0).id) == placed
        assert await store.attempts(job(0).id) == [tries[1], tries[0]]
        assert await store.attempts_of_group(group(0).id) == [tries[1], tries[0]]
        assert await store.attempts_of([job(1).id, job(0).id]) == [tries[1], tries[0], tries[2]]
        assert await store.find_request("r") == answer
        assert await store.prune_requests(NOW) == 0
        assert await store.prune_requests(NOW + 1) == 1
        assert await store.find_request("r") is None

    async def test_the_audit_the_last_first(self, store: Store) -> None:
        step_name = "campaigns/c/steps/s"
        rows = [
            AuditRow(
                NOW, "ann", "token", "ipv4:1", "StartCampaign", "c", "campaigns/c", result="OK"
            ),
            AuditRow(
                NOW + 1, "bob", "token", "p", "SignStep", "c", step_name, result="MISSING_ROLE"
            ),
            AuditRow(
                NOW + 2, "ann", "socket", "unix:", "SignStep", "cc", "campaigns/cc", result="OK"
            ),
        ]
        rows[0].detail, rows[0].before, rows[0].after = "{}", "DRAFT", "RUNNING"
        await store.commit(Batch(audits=rows[:2]))
        await store.commit(Batch(audits=rows[2:]))
        found = await store.audits()
        assert [row for _, row in found] == rows[::-1]
        ids = [ident for ident, _ in found]
        assert ids == sorted(ids, reverse=True)

        async def asked(**narrower: Any) -> list[AuditRow]:
            return [row for _, row in await store.audits(**narrower)]

        assert await asked(limit=1) == rows[2:]
        assert await asked(before_id=ids[0], limit=1) == rows[1:2]
        assert await asked(campaign="c", name="campaigns/c") == [rows[1], rows[0]]
        assert await asked(campaign="c", name=step_name) == [rows[1]]
        assert await asked(who="ann", since=NOW + 1) == rows[2:]
        assert await asked(refused=True) == [rows[1]]

    async def test_where_groups_were_placed_before(self, store: Store) -> None:
        begun = changed(group(0), region="tract=1", facility="USDF", started_at=NOW)
        left = changed(group(1), region="tract=1")
        placed = changed(group(2), region="tract=2", facility="USDF")
        apart = changed(group(3, at=2), region="tract=2", facility="UKDF", started_at=NOW)
        await store.commit(moved(begun, left))
        await store.commit(made(step(2), placed, apart))
        decided = ((0, "USDF"), (1, "FrDF"), (0, None), (1, None), (2, "USDF"), (3, "UKDF"))
        for n, at in decided:
            row = PlacementRow(group(n).id, NOW, at, "weighted", "me", "")
            await store.commit(Batch(placements=[row]))
        found = await store.placed_before(BASE, {step(2).id})
        assert found.regions == {"tract=1": "FrDF", "tract=2": "USDF"}
        assert found.counts == {"USDF": 2, "UKDF": 1}
        assert found.begun == {("tract=1", "USDF"), ("tract=2", "UKDF")}
        assert found.former == {group(1).id: "FrDF"}
        assert (await store.placed_before(BASE)).regions["tract=2"] == "UKDF"
        assert await store.placed_before(BASE + 5) == PlacedBefore()

    async def test_groups_of_a_region_that_have_begun_at_a_facility(self, store: Store) -> None:
        seen: dict[str, Any] = {"region": "tract=1", "facility": "USDF", "started_at": NOW}
        await store.commit(moved(changed(group(0), **seen), changed(group(1), **seen)))
        others: tuple[dict[str, Any], ...] = (
            {"region": "tract=2"},
            {"facility": "FrDF"},
            {"started_at": None},
        )
        await store.commit(
            made(*(changed(group(n), **{**seen, **each}) for n, each in enumerate(others, 2)))
        )
        assert await store.begun_groups(BASE, "tract=1", "USDF") == [("s1", "g0"), ("s1", "g1")]
        assert await store.begun_groups(BASE, "tract=1", "USDF", limit=1) == [("s1", "g0")]

    async def test_only_what_is_open_is_loaded(self, store: Store) -> None:
        archived = campaign(6, state=CampaignState.ARCHIVED)
        ended = changed(group(1), state=GroupState.FAILED)
        inside = changed(job(0), state=JobState.SUCCEEDED)
        batch = moved(ended, changed(job(1), state=JobState.FAILED), inside)
        batch.created[archived.id] = archived
        batch.records.append(record(77))
        await store.commit(batch)
        loaded = await store.load_open()
        assert set(loaded.campaigns) == {BASE}
        assert loaded.groups == {group(0).id: group(0)}
        assert loaded.jobs == {inside.id: inside}
        assert (loaded.last_seq, loaded.highest_id) == (77, archived.id)
        assert await store.group_names(BASE + 1) == {"g0", "g1"}

    async def test_references(self, store: Store) -> None:
        ids = await store.reference("c0", "s1", "g1", "process")
        assert ids is not None
        assert (ids.campaign_id, ids.step_id, ids.group_id) == (BASE, BASE + 1, group(1).id)
        assert ids.job_id == job(1).id
        assert await store.reference("c0", "s1", "nowhere") is None
        assert await store.get_job("c0", "s1", "g1", "none") is None
        assert await store.get_group("c9", "s1", "g1") is None
        assert await store.list_jobs("c0", "s9") == []

    async def test_lists_filter(self, store: Store) -> None:
        groups = [
            group(n, state=s, facility=f, stopped=s is GroupState.HELD)
            for n, (s, f) in enumerate(_MIXTURE, 10)
        ]
        jobs = [job(n, state=s) for n, s in enumerate(JobState, 10)]
        await store.commit(made(*groups, *jobs))
        every = [group(0), group(1), *groups]
        for states in [{s} for s in GroupState] + [
            {GroupState.HELD, GroupState.READY},
            set(GroupState),
        ]:
            found = [row.group for row in await store.list_groups("c0", "s1", states)]
            assert found == [g for g in every if g.state in states]
        found = [row.group for row in await store.list_groups("c0", facility="FrDF", prefix="g1")]
        assert found == [g for g in groups if g.facility == "FrDF" and g.name.startswith("g1")]
        (load,) = await store.facility_load("FrDF")
        assert (load.campaign, load.step) == ("c0", "s1")
        assert load.counts == dict.fromkeys(GroupState, 1)
        assert await store.facility_load("nowhere") == []
        failed = {JobState.FAILED, JobState.HELD}
        ids = [
            row.job.id for row in await store.list_jobs("c0", states=failed, kind=JobKind.PROCESS)
        ]
        assert ids == [j.id for j in jobs if j.state in failed]
        assert [r.job for r in await store.list_jobs("c0", "s1", "g1")] == [job(1)]
        assert await store.list_jobs("c0", kind=JobKind.PURGE) == []
        assert await store.list_groups("c0", prefix="%") == []
        counted = await store.recount(BASE)
        assert counted.groups[BASE + 1]["READY"] == sum(g.state is GroupState.READY for g in every)
        assert counted.jobs[BASE + 1]["WAITING"] == 3

    @pytest.mark.parametrize("states", [(), (GroupState.READY, GroupState.PLACED)])
    async def test_pages_stay_while_rows_are_written(self, store: Store, states: Any) -> None:
        await store.commit(made(*(group(n) for n in range(2, 20))))
        seen: list[int] = []
        for turn in range(100):
            page = await store.list_groups(
                "c0", "s1", states, limit=3, after_id=seen[-1] if seen else 0
            )
            seen += [row.group.id for row in page]
            if len(page) < 3:
                break
            await store.commit(
                Batch(
                    created={group(100 + turn).id: group(100 + turn)} if turn < 4 else {},
                    updates={
                        group(turn).id: Update(changed(group(turn), state=GroupState.PLACED), 1)
                    },
                )
            )
        assert seen == sorted(set(seen))
        assert set(seen) == {group(n).id for n in [*range(20), *range(100, 104)]}
        with pytest.raises(ValueError, match="a page holds"):
            await store.list_groups("c0", limit=0)

    async def test_campaigns_and_steps_are_listed(self, store: Store) -> None:
        await store.commit(made(campaign(1, state=CampaignState.PAUSED), step(3), step(2)))
        assert [r.campaign.name for r in await store.list_campaigns(limit=1)] == ["c0"]
        assert [r.campaign.name for r in await store.list_campaigns(after_id=BASE)] == ["c1"]
        assert [r.campaign.name for r in await store.list_campaigns([CampaignState.PAUSED])] == [
            "c1"
        ]
        assert await store.list_campaigns(owner="nobody") == []
        assert [r.step.name for r in await store.list_steps("c0")] == ["s1", "s2", "s3"]

    async def test_commits_from_many_tasks_all_arrive(self, store: Store) -> None:
        await asyncio.gather(*(store.commit(Batch(records=[record(n)])) for n in range(1, 51)))
        assert [e.seq for e in await store.events()] == list(range(1, 51))

    async def test_a_cancelled_commit_is_over_when_it_returns(self, store: Store) -> None:
        for start in range(1, 2000, 100):
            records = [record(n) for n in range(start, start + 100)]
            task = asyncio.create_task(store.commit(Batch(records=records)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            count = len(await store.events(after_seq=start - 1, limit=1000))
            assert count == 100

    async def test_a_failing_commit_point_writes_nothing(self, store: Store) -> None:
        seen: list[str] = []

        def fail(point: str) -> None:
            seen.append(point)
            if point == "before-commit":
                raise RuntimeError("no")

        store.on_commit_point = fail
        with pytest.raises(RuntimeError, match="no"):
            await store.commit(Batch(records=[record(1)]))
        store.on_commit_point = seen.append
        await store.commit(Batch(records=[record(2)]))
        assert seen == ["before-commit", "before-commit", "after-commit"]
        assert [e.seq for e in await store.events()] == [2]

    async def test_everything_is_there_after_reopening(self, store: Store, tmp_path: Path) -> None:
        before = await store.load_open()
        await store.close()
        await store.close()
        again = await self.open(tmp_path)
        try:
            assert await again.load_open() == before
            assert (await again.check(deep=True)).problem == ""
        finally:
            await again.close()


_MIXTURE = [(s, f) for s in GroupState for f in ("USDF", "FrDF", None)]


class _Word(str):
    """A word that no enumeration has, in the form of one: what only a fault of the program writes."""

    __slots__ = ()

    @property
    def _value_(self) -> str:
        return str(self)
