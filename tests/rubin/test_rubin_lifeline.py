"""The agent ends with its input, also when it hangs in a request."""

import json
import sqlite3
import subprocess
import time

from stack_processes import DEADLINE, STACK_PROGRAMS, Facility


def test_a_hung_agent_ends_when_who_asks_is_gone(facility: Facility) -> None:
    (database,) = facility.repo.glob("*.sqlite3")
    agent = subprocess.Popen(
        [
            str(facility.python),
            str(STACK_PROGRAMS / "butler_agent.py"),
            f"--repo=main={facility.repo}",
            "--linger=0.2",
        ],
        env=facility.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    assert b'"ready":true' in agent.stdout.readline()
    first = {"id": 1, "op": "collections", "args": {"repo": "main"}}
    agent.stdin.write(json.dumps(first).encode() + b"\n")
    agent.stdin.flush()
    assert b'"ok":true' in agent.stdout.readline()
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    chains = [{"name": "u/c", "children": []}]
    request = {"id": 2, "op": "chain", "args": {"repo": "main", "chains": chains}}
    began = time.monotonic()
    _, words = agent.communicate(json.dumps(request).encode() + b"\n", timeout=DEADLINE)
    lock.rollback()
    lock.close()
    assert agent.returncode == 1
    assert time.monotonic() - began < 4  # a locked database is waited for longer
    assert b"still under way long after the input ended" in words
