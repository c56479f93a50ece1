"""How long a decision of the facility selector takes, next to the least that could be done.

    python tests/bench/bench_placement.py

Places sets of a thousand groups at three facilities, of each kind of `placement_sets`. The floor
gives the same groups to the facility that has most room by its share, with no filter, no reasons
and nothing remembered. Prints figures and asserts nothing about time.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "facility"))

from placement_cases import SHARES, SLOTS
from placement_sets import KINDS, costly

from cmd_facility.selector import FacilitySelector

GROUPS = 1000
ROUNDS = 7


def least(groups: int) -> dict[str, int]:
    """The floor's groups by facility."""
    placed = dict.fromkeys(SLOTS, 0)
    for _ in range(groups):
        best = max(placed, key=lambda name: SHARES[name] * SLOTS[name] / (1 + placed[name]))
        placed[best] += 1
    return placed


def microseconds(action: Callable[[], object]) -> float:
    """Processor time of the quickest of some rounds, for each group and facility."""
    spent = []
    for _ in range(ROUNDS):
        began = time.process_time()
        action()
        spent.append(time.process_time() - began)
    return min(spent) / GROUPS / len(SLOTS) * 1e6


def main() -> None:
    """Measure and print."""
    floor = microseconds(lambda: least(GROUPS))
    print(f"{'floor':8} {floor:6.2f} µs per group and facility")
    for kind in KINDS:
        requests, views = costly(kind, GROUPS)
        spent = microseconds(
            lambda r=requests, v=views: asyncio.run(FacilitySelector().select(r, v))
        )
        print(f"{kind:8} {spent:6.2f} µs, {spent / floor:5.1f} times the floor")


if __name__ == "__main__":
    main()
