"""The proof that nothing of the campaign `crash` was lost or done twice, from the drivers' own ledgers."""

import json
from collections import Counter

from daemon_process import DaemonProcess
from history import submissions

GROUPS = 4


def proven(daemon: DaemonProcess, groups: int = GROUPS) -> None:
    """After the end of the campaign and of the daemon: each attempt ran exactly once, none was tried
    again, and the books are right."""
    script_jobs = 2 * groups + 1  # before and after each group of the first step, after the second
    records = daemon.history()
    again = [(r.name, r.reason) for r in records if r.kind == "job" and r.attempt > 1]
    assert not again, again
    ledger = daemon.ledger()
    assert all(n == 1 for n in ledger.values()), ledger
    assert len(ledger) == script_jobs
    assert daemon.supervised().total() == script_jobs
    world = Counter(
        entry["key"]
        for line in (daemon.root / "world").read_text().splitlines()
        if (entry := json.loads(line))["what"] == "run"
    )
    assert all(n == 1 for n in world.values()), world
    assert len(world) == groups + 1
    begun = submissions(records)
    assert all(attempt == 1 for _, attempt in begun), begun
    assert all(n == 1 for n in begun.values()), begun
