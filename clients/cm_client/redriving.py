"""Gaps driven again: which groups are retried, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cmd_api.v1.group_pb2 import Group
from cmd_api.v1.job_pb2 import Job
from cmd_api.v1.step_pb2 import NexusEntry

from .blocking import Client
from .errors import CmError, DaemonUnavailable
from .names import Name, is_sum, parse_name
from .words import clean, state_word


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one movement of one group that has gaps. `group` in short form; `refused` if the
    daemon did not take the retry."""

    group: str
    movement: str
    gaps: int
    done: bool
    words: str
    refused: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "group": self.group,
            "movement": self.movement,
            "gaps": self.gaps,
            "retried": self.done,
            "message": self.words,
        }


def redrive(client: Client, name: Name, reason: str) -> list[Redriven]:
    """Retry each group of a step, or the one group, whose movement is HELD with gaps.

    A retry of a movement looks how far each dataset is and does what is left. The answer for a step
    lists a limited number of groups with gaps, HELD ones first: it is asked again as long as there
    are fresh ones among them. Raises CmError if the log cannot be read or the daemon is lost.
    """
    found: dict[tuple[str, str], Redriven] = {}
    while True:
        gaps = _gaps(client.get_nexus(name.full).entries)
        fresh = {key: count for key, count in gaps.items() if key not in found}
        if not fresh:
            return list(found.values())
        held = _held(client, name)
        again = False
        for (group, movement), count in fresh.items():
            done = _one(client, group, movement, count, held.get(group), reason)
            found[group, movement] = done
            again = again or done.done
        if not again:
            return list(found.values())


def _gaps(entries: Iterable[NexusEntry]) -> dict[tuple[str, str], int]:
    """Gaps by group and movement."""
    gaps: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.gap_count and not is_sum(entry):
            key = (entry.group, entry.movement)
            gaps[key] = gaps.get(key, 0) + entry.gap_count
    return gaps


def _held(client: Client, name: Name) -> dict[str, str]:
    """The movement that each group's HELD job belongs to."""
    held = {}
    for job in client.jobs(name.full, states=[Job.STATE_HELD]):
        path = parse_name(job.name)
        held[path.parent.full] = path.parts[-1].partition("-")[0]
    return held


def _one(
    client: Client, group: str, movement: str, gaps: int, held: str | None, reason: str
) -> Redriven:
    short = parse_name(group).short
    try:
        if held == movement:
            retried = client.retry_group(group, reason=reason or "its gaps are driven again")
            words = f"retried: the group is {state_word(retried)}"
            return Redriven(short, movement, gaps, True, words)
        words = _why_not(client.get_group(group), movement, held)
        return Redriven(short, movement, gaps, False, words)
    except DaemonUnavailable:
        raise
    except CmError as error:
        words = f"not retried: {clean(error.message)}"
        return Redriven(short, movement, gaps, False, words, refused=True)


def _why_not(group: Group, movement: str, held: str | None) -> str:
    """Why a group with gaps is not retried."""
    state = state_word(group)
    short = parse_name(group.name).short
    if held is not None:
        return f"not retried: it is held by {held}, not by {movement}; see cm why {short}"
    if state == "ACCEPTED":
        return "not retried: the group was accepted with these gaps"
    if state in ("REJECTED", "FAILED", "CANCELLED"):
        return f"not retried: the group is {state}"
    return f"nothing to do: the group is {state}, its {movement} is under way; see cm why {short}"
