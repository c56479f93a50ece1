"""What must hold of every history and every set of counters, whatever was killed or failed."""

from collections import Counter
from collections.abc import Sequence

from cmd_daemon.kernel.records import Record
from cmd_daemon.kernel.states import FINAL_JOB
from cmd_daemon.store import Store


async def all_events(store: Store) -> list[Record]:
    """The whole history, oldest first."""
    found: list[Record] = []
    while page := await store.events(found[-1].seq if found else 0, 1000):
        found += page
    return found


def check_unbroken(records: Sequence[Record]) -> None:
    """Sequence numbers without a gap; each entity goes from the state it was in; nothing leaves a
    final job state, but the jobs of a group that a person moves."""
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    state: dict[str, str] = {}
    for record in records:
        before = state.get(record.name)
        if before is not None:
            assert record.from_state == before, record
        begins_anew = record.cause == "GroupMoved" and record.from_state == "SUCCEEDED"
        if record.kind == "job" and record.from_state != record.to_state and not begins_anew:
            assert before not in FINAL_JOB, record
        state[record.name] = record.to_state


async def check_counters(store: Store, campaign: str) -> None:
    """The counters that roll up are what is counted anew, and no effect is left over."""
    row = await store.get_campaign(campaign)
    assert row is not None
    counted = await store.recount(row.campaign.id)
    for step in await store.list_steps(campaign):
        told = {state: n for state, n in step.step.group_counts.items() if n}
        assert told == dict(counted.groups.get(step.step.id, {})), step.step.name
        told = {state: n for state, n in step.step.job_counts.items() if n}
        assert told == dict(counted.jobs.get(step.step.id, {})), step.step.name
    assert (await store.load_open()).effects == {}, "an outside call is still intended"


def submissions(records: Sequence[Record]) -> Counter[tuple[str, int]]:
    """How often each attempt of each job was newly begun."""
    return Counter(
        (r.name, r.attempt)
        for r in records
        if r.kind == "job" and r.from_state == "READY" and r.to_state == "SUBMITTING"
    )
