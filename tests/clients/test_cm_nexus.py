"""How `cm nexus` shows what Rucio adds, and only where it moved something."""

import io
from typing import Any

import pytest
from cmd_api.v1.step_pb2 import Nexus, NexusEntry
from rich.console import Console

from cm_cli.show.nexus import nexus

STEP = "campaigns/c/steps/s"


def entry(**changes: Any) -> NexusEntry:
    """A step's sum of one keep."""
    values = {
        "group": STEP,
        "movement": "keep",
        "source": "facilities/FrDF",
        "destination": "facilities/USDF",
        "dataset_type": "coadd",
        "made": 12,
        "sent": 11,
        "arrived": 9,
        "ingested": 8,
        "bytes": 9_000_000,
        "groups": 3,
    }
    return NexusEntry(**{**values, **changes})


def shown(*entries: NexusEntry) -> list[str]:
    """The lines, words apart by one space."""
    console = Console(file=io.StringIO(), width=100)
    console.print(nexus(Nexus(name=STEP, entries=entries), 10))
    file = console.file
    assert isinstance(file, io.StringIO)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("entries", "heads", "line"),
    [
        (
            [entry()],
            ["Movement Way Type Groups Made Sent Arrived Ingested Gaps Bytes"],
            "12 11 9 8",
        ),
        (
            [entry(registered=11, rule_ok=10)],
            ["Regis- Rule", "Movement Way Type Groups Made tered OK Arrived Ingested Gaps Bytes"],
            "12 11 10 9 8",
        ),
        (
            [entry(registered=11, rule_ok=10), entry(movement="gather")],
            [
                "Regis- Rule",
                "Movement Way Type Groups Made tered OK Sent Arrived Ingested Gaps Bytes",
            ],
            "12 11 10 11 9 8",
        ),
    ],
)
def test_what_rucio_adds_is_shown_where_it_moves_something(
    entries: list[NexusEntry], heads: list[str], line: str
) -> None:
    lines = shown(*entries)
    assert lines[1 : 1 + len(heads)] == heads
    assert f"keep FrDF -> USDF coadd 3 {line} 9.0 MB" in lines
