"""When a campaign will have ended, as far as one can tell from what it has done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from cmd_api.v1.campaign_pb2 import Campaign

from .words import FINAL, state_word

FEW = 3
"""Groups that must have ended before anything is foretold."""


def done_of(counts: Mapping[str, int]) -> tuple[int, int]:
    """Of groups or jobs by state: how many are final, and how many there are."""
    return sum(n for state, n in counts.items() if state in FINAL), sum(counts.values())


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds that are left, if they can be told; `least` if steps are still to be split, whose groups
    nobody has counted. `note` says why there is none."""

    left_s: float | None = None
    least: bool = False
    note: str = ""


def forecast(campaign: Campaign, now: float | None = None) -> Forecast:
    """The groups that are left, at the pace of those that ended, from the start until now."""
    state = state_word(campaign)
    if state in FINAL:
        return Forecast()
    if state != "RUNNING":
        return Forecast(note=state.lower())
    done, total = done_of(campaign.group_counts)
    started = campaign.start_time.ToMicroseconds() / 1e6
    if done < FEW:
        return Forecast(note="too early to tell")
    open_groups = total - done
    waits = sum(campaign.group_counts.get(word, 0) for word in ("HELD", "REVIEW"))
    if open_groups and waits == open_groups:
        return Forecast(note="waits for a person")
    passed = (time.time() if now is None else now) - started
    unsplit = sum(campaign.step_counts.get(word, 0) for word in ("WAITING", "PREPARING"))
    return Forecast(left_s=passed * open_groups / done, least=bool(unsplit))
