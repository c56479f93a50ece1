"""The full chain on PostgreSQL, as its users run it, while the leader of two daemons is taken away."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chain_process import FACILITIES, Chain

LIMIT_S = 60.0
"""Seconds within which another daemon leads, on a machine however busy; on a quiet one it takes 2 to 7."""


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """The chain while it runs."""
    made = Chain(tmp_path, "--standby")
    made.patience_s = 900.0
    yield made
    made.stop()


@pytest.mark.timeout(1200)
def test_without_its_leader_the_chain_agrees_with_the_truth(chain: Chain) -> None:
    """The leader is killed, its successor is frozen: accepted all the same, and nothing ran twice."""
    assert chain.end() == 0, chain.text()
    said = chain.text()
    assert "The result agrees with the truth." in said
    assert not re.search(r"^BAD", said, re.MULTILINE), said
    taken = re.findall(
        r"^(\S+) (killed|frozen) .*: (\S+) led after ([0-9.]+) s$", said, re.MULTILINE
    )
    assert [how for _, how, _, _ in taken] == ["killed", "frozen"], said
    assert taken[0][2] == taken[1][0] != taken[0][0] == taken[1][2], taken
    print("the stand-by led after", ", ".join(f"{seconds} s" for *_, seconds in taken))
    assert all(float(seconds) < LIMIT_S for *_, seconds in taken), taken
    assert "(status 75)" in said, "the leader that woke ends as one that is fenced"
    for facility in FACILITIES:
        twice = [key for key, times in Counter(chain.ledger(facility)).items() if times > 1]
        assert chain.ledger(facility), facility
        assert not twice, (facility, twice)
