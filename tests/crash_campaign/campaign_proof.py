"""The proof: what the store says of itself after each death, and what the outside says at the end."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from campaign_home import Home
from history import check_unbroken

from cmd_daemon.kernel.invariants import problems
from cmd_daemon.kernel.records import Record
from cmd_daemon.kernel.states import FINAL_CAMPAIGN
from cmd_daemon.kernel.view import View
from cmd_daemon.store import AlreadyInUse, Store

OPENS = 200


@dataclass
class Books:
    """What was read of the store so far, and how often it was looked through."""

    records: list[Record] = field(default_factory=list)
    looks: int = 0

    def look(self, site: Home) -> None:
        """Read a dead daemon's store: it must have kept all it said before, and no invariant may be broken.
        Raises AssertionError."""
        asyncio.run(self._look(site.database))
        self.looks += 1

    async def _look(self, database: str) -> None:
        store = await _opened(database)
        try:
            last = self.records[-1].seq if self.records else 0
            while page := await store.events(last, 1000):
                self.records += page
                last = page[-1].seq
            check_unbroken(self.records)
            loaded = await store.load_open()
            assert loaded.last_seq == last, f"the history ends at {loaded.last_seq}, not at {last}"
            view = View()
            view.load(
                loaded.campaigns.values(),
                loaded.steps.values(),
                loaded.groups.values(),
                loaded.jobs.values(),
            )
            view.facilities.update(loaded.facilities)
            assert not (found := problems(view, loaded.effects)), found
            for campaign in loaded.campaigns.values():
                counted = await store.recount(campaign.id)
                for ident in view.steps_of[campaign.id].values():
                    step = view.steps[ident]
                    for told, seen in (
                        (step.group_counts, counted.groups),
                        (step.job_counts, counted.jobs),
                    ):
                        counts = {state: n for state, n in told.items() if n}
                        assert counts == dict(seen.get(ident, {})), step.name
            if all(c.state in FINAL_CAMPAIGN for c in loaded.campaigns.values()):
                assert loaded.effects == {}, "an outside call is still intended"
        finally:
            await store.close()


async def _opened(database: str) -> Store:
    for _ in range(OPENS):
        try:
            return await Store.open(database, clock=lambda: 0, migrate=False)
        except AlreadyInUse:  # the server has not yet noticed the death of the last one
            await asyncio.sleep(0.05)
    raise AssertionError("the dead daemon's database stays in use")


def key_of(record: Record) -> str:
    """The key of the attempt that a job's record is about."""
    parts = record.name.split("/")
    return "/".join(parts[1::2]) + f"#{record.attempt}"


def none_run_twice(ledgers: Mapping[str, Counter[str]]) -> int:
    """Each attempt ran once and at one place; how many ran. Raises AssertionError."""
    total: Counter[str] = Counter()
    for ledger in ledgers.values():
        total += ledger
    twice = {key: n for key, n in total.items() if n > 1}
    assert not twice, f"run twice: {twice}"
    return len(total)


def none_lost(records: Iterable[Record], ledgers: Mapping[str, Counter[str]]) -> None:
    """What the history calls taken was really run, what was run the history has begun, and what has
    succeeded has run. Raises AssertionError."""
    ran = {key for ledger in ledgers.values() for key in ledger}
    jobs = [r for r in records if r.kind == "job" and r.attempt and not r.name.endswith("/collect")]
    begun = {key_of(r) for r in jobs if r.to_state == "SUBMITTING"}
    good = {key_of(r) for r in jobs if r.to_state == "SUCCEEDED" and r.from_state == "RUNNING"}
    taken = {key_of(r) for r in jobs if r.to_state == "RUNNING"}
    assert ran <= begun, f"run and never begun: {sorted(ran - begun)[:9]}"
    assert good <= ran, f"succeeded and never run: {sorted(good - ran)[:9]}"
    # A script that was cancelled before its supervisor came to it has left no line.
    ended = {key_of(r) for r in jobs if r.from_state == "RUNNING" and r.to_state == "CANCELLED"}
    stopped = {key_of(r) for r in jobs if r.cause in ("FacilitySwept", "FacilityKilled")}
    assert taken - ended - stopped <= ran, f"lost: {sorted(taken - ended - stopped - ran)[:9]}"


def commands_alternate(world: Iterable[Mapping[str, Any]]) -> int:
    """No attempt was paused or resumed twice in a row; how many commands there were."""
    told: dict[str, list[str]] = {}
    for entry in world:
        if entry["what"] == "command" and entry["command"] in ("pause", "resume"):
            told.setdefault(entry["key"], []).append(entry["command"])
    for key, commands in told.items():
        assert all(a != b for a, b in pairwise(commands)), f"{key}: {commands}"
    return sum(map(len, told.values()))


async def complete(
    database: str, names: Iterable[str], cancelled: Iterable[str], wanted: Mapping[str, int]
) -> None:
    """Each campaign came to the end it should, with all its groups: so many `wanted` of each step. Raises
    AssertionError."""
    store = await _opened(database)
    try:
        for name in names:
            row = await store.get_campaign(name)
            assert row is not None, f"campaign {name} is lost"
            if name in cancelled:
                assert row.campaign.state in ("CANCELLED", "ACCEPTED"), row.campaign
                continue
            assert row.campaign.state == "ACCEPTED", row.campaign
            for step in await store.list_steps(name):
                counts = {state: n for state, n in step.step.group_counts.items() if n}
                number = wanted[step.step.name]
                assert counts == ({"ACCEPTED": number} if number else {}), (name, step.step.name)
    finally:
        await store.close()
