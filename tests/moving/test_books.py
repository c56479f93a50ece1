"""Books fit into an outcome however many gaps there are, and their counts stay."""

import json
from typing import Any

import pytest

from cmd_local.moving.books import ROOM, fitting


def entry(at: int, gaps: int, reason: str = "lost at the source") -> dict[str, Any]:
    """An entry with so many gaps listed."""
    listed = [
        {"uuid": f"{n:036d}", "data_id": {"visit": n}, "stage": "made", "reason": reason}
        for n in range(gaps)
    ]
    return {
        "source": "FrDF",
        "destination": "USDF",
        "type": f"type{at:03d}",
        "made": 1000,
        "missing": gaps,
        "left_out": [{"visit": n} for n in range(gaps)],
        "gaps": listed,
    }


def test_small_books_stay_as_they_are() -> None:
    entries = [entry(at, 3) for at in range(5)]
    assert fitting(entries) == entries


@pytest.mark.parametrize(("types", "gaps", "reason"), [(2, 100, "x" * 9000), (40, 100, "lost")])
def test_large_books_list_fewer_gaps(types: int, gaps: int, reason: str) -> None:
    entries = [entry(at, gaps, reason) for at in range(types)]
    short = fitting(entries)
    assert len(json.dumps(short)) <= ROOM
    assert [each["missing"] for each in short] == [gaps] * types
    assert all(each["gaps"] for each in short)
    assert len(entries[0]["gaps"]) == gaps


def test_too_many_types_are_counted_together() -> None:
    entries = [entry(at, 1) for at in range(2000)]
    (whole,) = fitting(entries)
    assert len(json.dumps(whole)) <= ROOM
    assert (whole["made"], whole["missing"]) == (2_000_000, 2000)
    assert (whole["source"], whole["destination"], whole["type"]) == ("FrDF", "USDF", "*")
    assert whole["gaps"] == []
