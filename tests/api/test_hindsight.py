"""What a decision of the past would have been without some facilities."""

import json

import pytest

from cmd_daemon.api.hindsight import hindsight
from cmd_daemon.kernel.records import PlacementRow

FACTORS = [
    ["USDF", "up", 1.0, True, ""],
    ["USDF", "score", 0.25, True, "share"],
    ["FrDF", "up", 1.0, True, ""],
    ["FrDF", "score", 7.2, True, "share"],
    ["UKDF", "inputs", 0.0, False, "24 of 24 input files are missing"],
    ["LANCS", "up", 1.0, True, ""],
    ["LANCS", "score", 0.5, True, "share"],
]


def decision(factors: object = FACTORS) -> PlacementRow:
    return PlacementRow(1, 5_000_000, "FrDF", "balanced", "daemon", "best", json.dumps(factors))


@pytest.mark.parametrize(
    ("without", "facility", "reason"),
    [
        ({"FrDF"}, "LANCS", "the next best score, 0.5"),
        ({"FrDF", "LANCS"}, "USDF", "the next best score, 0.25"),
        ({"USDF"}, "FrDF", "as it was: best"),
        ({"FrDF", "LANCS", "USDF"}, "", "no other facility passed"),
    ],
)
def test_the_next_best_of_those_that_passed_every_filter(
    without: set[str], facility: str, reason: str
) -> None:
    told = hindsight(decision(), without)
    assert told.facility == (f"facilities/{facility}" if facility else "")
    assert reason in told.reason
    assert told.time.seconds == 5


def test_a_bound_group_has_no_scores() -> None:
    bound = [["USDF", "up", 1.0, True, ""], ["FrDF", "up", 1.0, True, ""]]
    told = hindsight(decision(bound), {"FrDF"})
    assert told.facility == "facilities/USDF"
    assert "nothing was weighed" in told.reason
