"""A campaign with its history as a file: out of one database, into another, and decided once more."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_house import HERE, THERE, House, step, until
from services.databases import Server

from cmd_daemon.hooks import Command, ErrorClass
from cmd_daemon.kernel import events as ev
from cmd_daemon.store import Store, StoreError
from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.looking import looked_at
from cmd_daemon.store.portable import Damaged, Diverged, bring_in, export, form, read, replay
from cmd_daemon.testing.world import Behaviour

RUNS_ON = {"run_s": None}


async def exported(url: str, name: str, file: Path) -> Path:
    """A campaign's file."""
    async with looked_at(url) as reading:
        await export(reading, name, file)
    return file


async def imported(url: str, file: Path) -> int:
    """Bring a file into a database."""
    store = await Store.open(url, clock=lambda: 0)
    try:
        return await bring_in(store, read(file))
    finally:
        await store.close()


def rewritten(file: Path, change: Callable[[list[Any]], None], to: Path) -> Path:
    """The file with other lines and, unlike a damaged one, with their checksum."""
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()][:-1]
    change(lines)
    with form.Writing(to) as writing:
        writing.lines(lines)
    return to


async def eventful(house: House) -> None:
    """A run with retries, a held group, a pause, a move, commands, a kill, a new version of the file, a
    daemon that ends in the middle, and another campaign beside it."""
    fails = Behaviour(run_s=1.0, ok=False, message="lost node", error_class=ErrorClass.TRANSIENT)
    house.worlds[THERE].behaviours |= {f"camp/two/{n:04d}/run#1": fails for n in (1, 2)}
    async with house.running() as engine:
        await house.apply("other", one=step(5, at=THERE, jobs=("run",)))
        ident = await house.apply(
            one=step(6, fake=RUNS_ON, jobs=("run", "tidy")), two=step(4, at=THERE)
        )
        await until(lambda: len([j for j in house.jobs("RUNNING") if j.facility == HERE]) == 6)
        first, second, *_ = sorted(
            (j for j in house.jobs("RUNNING") if j.facility == HERE), key=lambda j: j.id
        )
        await engine.ask(ev.GroupHeld(group_id=first.group_id, actor="pilot", reason="look"))
        wants = ((Command.PRIORITY, 900),)
        await engine.ask(ev.JobCommanded(job_id=second.id, attempt=1, wants=wants, actor="pilot"))
        await engine.ask(ev.CampaignPaused(campaign_id=ident, reason="lunch", actor="pilot"))
        await until(lambda: engine.view.campaigns[ident].paused)
    async with house.running() as engine:
        await engine.ask(ev.CampaignResumed(campaign_id=ident, actor="pilot"))
        await engine.ask(ev.GroupReleased(group_id=first.group_id, actor="pilot"))
        await engine.ask(ev.FacilityKilled(facility=HERE, reason="smoke", actor="admin"))
        await until(lambda: len([g for g in engine.view.groups.values() if g.stopped]) == 6)
        await until(lambda: not [j for j in house.jobs("RUNNING") if j.facility == HERE])
        await engine.ask(ev.GroupMoved(group_id=second.group_id, facility=THERE, actor="pilot"))
        await engine.ask(ev.FacilityRevived(facility=HERE, retry=True, actor="admin"))
        await house.apply(
            one=step(6, fake=RUNS_ON, jobs=("run", "tidy")),
            two=step(4, at=THERE),
            three=step(2, "one"),
        )
        async with asyncio.timeout(20):
            while house.state() != "ACCEPTED":
                for world in house.worlds.values():
                    for key in list(world.attempts):
                        world.end(key)
                await asyncio.sleep(0.01)
        await engine.ask(ev.CampaignArchived(campaign_id=ident, actor="pilot"))
        await house.reach("ACCEPTED", "other")
        await house.told()


async def test_what_was_decided_is_decided_again_byte_for_byte(
    house: House, tmp_path: Path
) -> None:
    await eventful(house)
    history = read(await exported(house.url, "camp", tmp_path / "camp.gz"))
    same = replay(history)
    assert same.events == len(history.rows["events"])
    assert same.rows == sum(len(rows) for t, rows in history.rows.items() if t != "events")
    causes = {row[form.FORMS["events"][1].index("cause")] for row in history.rows["events"]}
    assert {"GroupHeld", "CampaignPaused", "GroupMoved", "FacilitySwept", "JobEnded"} <= causes
    assert {"CommandAnswered", "CampaignArchived", "GroupsSwept"} & causes
    numbers = {row[1] for row in history.rows["attempts"]}
    assert 2 in numbers, "nothing was tried again"
    assert replay(read(await exported(house.url, "other", tmp_path / "other.gz"))).events


async def test_a_campaign_at_work_is_exported_and_replayed_but_not_imported(
    house: House, tmp_path: Path
) -> None:
    file = tmp_path / "camp.gz"
    async with house.running():
        await house.apply(one=step(4, fake=RUNS_ON))
        await until(lambda: len(house.jobs("RUNNING")) == 4)
        await house.told()
        await exported(house.url, "camp", file)
        assert replay(read(file)).events
    other = f"sqlite+aiosqlite:///{tmp_path}/other.db"
    with pytest.raises(BadUrl, match=r"RUNNING.*attempts outside"):
        await imported(other, file)
    with pytest.raises(BadUrl, match="there already"):
        await exported(house.url, "camp", file)
    with pytest.raises(BadUrl, match="no campaign 'nobody'"):
        await exported(house.url, "nobody", tmp_path / "nobody.gz")
    assert not list(tmp_path.glob("nobody*"))


async def test_out_of_one_database_into_another_and_back_it_stays_the_same(
    house: House, tmp_path: Path, postgres_server: Server
) -> None:
    """Behind what is there already: ids and sequence numbers move, the file does not."""
    await eventful(house)
    first = await exported(house.url, "camp", tmp_path / "first.gz")
    other = await exported(house.url, "other", tmp_path / "other.gz")
    lite = f"sqlite+aiosqlite:///{tmp_path}/lite.db"
    server = await asyncio.to_thread(postgres_server.fresh)
    for url in (server, lite):
        await imported(url, other)
        events = await imported(url, first)
        again = await exported(url, "camp", tmp_path / f"{url[:4]}.gz")
        assert again.read_bytes() == first.read_bytes()
        assert (await exported(url, "other", tmp_path / f"o-{url[:4]}.gz")).read_bytes() == (
            other.read_bytes()
        )
        assert replay(read(again)).events == events
        with pytest.raises(BadUrl, match="'camp' is in the database already"):
            await imported(url, first)
    house.url = lite
    async with house.running() as engine:
        assert engine.view.campaign_ids.keys() == {"other"}, "the archived one is not at work"
        assert engine._seq >= events + len(read(other).rows["events"])
        await house.apply("new", one=step(2))
        await house.reach("ACCEPTED", "new")
        await house.told()
    assert replay(read(await exported(lite, "new", tmp_path / "new.gz"))).events


async def test_a_file_that_is_not_as_it_was_written_is_refused(
    house: House, tmp_path: Path
) -> None:
    async with house.running():
        await house.apply(one=step(2))
        await house.reach("ACCEPTED")
        await house.told()
    file = await exported(house.url, "camp", tmp_path / "camp.gz")
    whole = file.read_bytes()
    text = gzip.decompress(whole)
    newer = text.replace(b'"format":1', b'"format":9')
    for content, why in (
        (b"", "camp.*|not"),
        (b"no gzip", "cannot be read"),
        (whole[: len(whole) // 2], "not whole"),
        (whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], "cannot be read|damaged|not whole"),
        (gzip.compress(b"{}\n"), "is not a campaign"),
        (gzip.compress(text.rpartition(b"\n{")[0]), "last line|damaged"),
        (gzip.compress(text.replace(b"SUCCEEDED", b"FAILED", 1)), "damaged"),
        (gzip.compress(newer), "format 9, this daemon knows 1"),
    ):
        bad = tmp_path / "bad.gz"
        bad.write_bytes(content)
        with pytest.raises(Damaged, match=why):
            read(bad)
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(whole).digest()


Tampering = tuple[str, str, Any, str]


@pytest.mark.parametrize(
    ("table", "column", "value", "told"),
    [
        ("events", "reason", "nobody said so", "event {n} .*reason is 'nobody said so'"),
        ("events", "to_state", "FAILED", "event {n} .*to_state is 'FAILED'"),
        ("events", "at", 1, "event {n} .*at is 1 "),
        ("events", "actor", "mallory", "event {n} .*actor is 'mallory'"),
        ("attempts", "exit_code", 42, "row of attempts .*exit_code is 42"),
        ("jobs", "attempt", 9, "row of jobs .*attempt is 9"),
        ("steps", "quanta_lost", 7, "row of steps .*quanta_lost is 7"),
    ],
)
async def test_what_was_changed_in_the_record_is_found_and_named(
    house: House, tmp_path: Path, table: str, column: str, value: Any, told: str
) -> None:
    async with house.running():
        house.world.behaviours["camp/one/0001/run#1"] = Behaviour(
            ok=False, message="lost node", error_class=ErrorClass.TRANSIENT
        )
        await house.apply(one=step(2))
        await house.reach("ACCEPTED")
        await house.told()
    file = await exported(house.url, "camp", tmp_path / "camp.gz")
    place = form.FORMS[table][1].index(column)
    number = 0

    def tamper(lines: list[Any]) -> None:
        nonlocal number
        start = next(
            i
            for i, line in enumerate(lines)
            if isinstance(line, dict) and line.get("table") == table
        )
        count = len(read(file).rows[table])
        row = lines[start + 1 + count // 2]
        number = row[-1]
        row[place] = value

    with pytest.raises(Diverged, match=told.format(n=r"\d+")) as caught:
        replay(read(rewritten(file, tamper, tmp_path / "tampered.gz")))
    if table == "events":
        assert f"event {number} " in str(caught.value)


async def test_events_that_are_left_out_or_added_are_found(house: House, tmp_path: Path) -> None:
    async with house.running():
        await house.apply(one=step(2))
        await house.reach("ACCEPTED")
        await house.told()
    file = await exported(house.url, "camp", tmp_path / "camp.gz")
    count = len(read(file).rows["events"])

    def events_at(lines: list[Any]) -> int:
        return next(
            i
            for i, line in enumerate(lines)
            if isinstance(line, dict) and line.get("table") == "events"
        )

    def decided_at(lines: list[Any]) -> int:
        return next(
            i
            for i, line in enumerate(lines)
            if isinstance(line, dict) and line.get("table") == "decided"
        )

    for number, (change, why) in enumerate(
        (
            (lambda lines: lines.pop(events_at(lines) + 5), "event 6 "),
            (lambda lines: lines.pop(events_at(lines) + count), "missing in the record"),
            (lambda lines: lines.pop(decided_at(lines) + 6), "follows from no event|cannot be"),
            (lambda lines: lines.pop(), "follows from no event"),
            (lambda lines: lines.__delitem__(slice(decided_at(lines) + 1, None)), "did not keep"),
        )
    ):
        with pytest.raises(Diverged, match=why):
            replay(read(rewritten(file, change, tmp_path / f"{number}.gz")))
    assert issubclass(Diverged, StoreError)


async def test_what_a_schedule_launched_together_is_replayed_apart(
    house: House, tmp_path: Path
) -> None:
    async with house.running() as engine:
        await engine.ask(
            ev.ScheduleApplied(
                schedule="nightly",
                owner="me",
                cron="0 3 * * *",
                zone="UTC",
                overlap="allow",
                text="",
                template="",
                template_file="",
                next_at=house.clock.now() + 86_400_000_000_000,
            )
        )
        launched = tuple(
            ev.CampaignApplied(
                campaign_id=None,
                name=name,
                owner="me",
                ticket="",
                text="",
                parameters="{}",
                digest=name,
                steps={"one": step(3)},
                start=True,
            )
            for name in ("left", "right")
        )
        due = house.clock.now()
        await engine.ask(
            ev.ScheduleDue(
                schedule="nightly",
                expected=None,
                due_at=due,
                next_at=None,
                campaigns=launched,
                by_hand=True,
            )
        )
        for name in ("left", "right"):
            await house.reach("ACCEPTED", name)
        await house.told()
    for name in ("left", "right"):
        history = read(await exported(house.url, name, tmp_path / f"{name}.gz"))
        assert replay(history).events == len(history.rows["events"])
