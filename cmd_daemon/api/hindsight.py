"""What a placement decision of the past would have been without some facilities, by its own factors."""

from collections.abc import Collection
from dataclasses import replace

from cmd_api.v1 import group_pb2 as pb
from cmd_daemon.api.shapes import placement_message
from cmd_daemon.kernel.records import PlacementRow

SCORE = "score"


def hindsight(row: PlacementRow, without: Collection[str]) -> pb.Placement:
    """The decision as it would have been: of the facilities that passed every filter then, the one
    with the next best score. A group that was bound to a facility (by its region, a pin, the file)
    carries no scores: the first facility that passed. Its time is that of the decision."""
    told = placement_message(row)
    names = list(dict.fromkeys(_short(each.facility) for each in told.factors))
    for name in sorted(without):
        told.factors.add(
            facility=f"facilities/{name}",
            name="excluded",
            passed=False,
            detail="left out of this question",
        )
    failed = {_short(each.facility) for each in told.factors if not each.passed}
    scores = {_short(each.facility): each.value for each in told.factors if each.name == SCORE}
    fits = [name for name in names if name not in failed]
    if row.facility is not None and row.facility not in without:
        return placement_message(replace(row, reason=f"as it was: {row.reason}"))
    if not fits:
        others = [name for name in names if name not in without]
        told.facility = ""
        told.reason = (
            "no other facility passed the filters when it was placed"
            if others
            else "the group is final, and its decision says nothing of other facilities"
        )
        return told
    best = max(fits, key=lambda name: scores.get(name, 0.0))
    told.facility = f"facilities/{best}"
    told.reason = "by the factors of its decision: " + (
        f"{best} had the next best score, {scores[best]:.4g}"
        if best in scores
        else f"{best} passed the filters too, nothing was weighed"
    )
    return told


def _short(name: str) -> str:
    return name.removeprefix("facilities/")
