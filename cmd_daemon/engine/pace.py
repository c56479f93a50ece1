"""How many jobs each facility finishes in an hour: one small counter a minute, nothing stored."""

from collections import deque

MINUTE = 60_000_000
KEPT = 60
"""Minutes that count."""


class Pace:
    """Counts the attempts that succeeded: a place where everything fails at once is not fast."""

    def __init__(self) -> None:
        self._minutes: dict[str, deque[list[int]]] = {}

    def count(self, facility: str, now: int) -> None:
        """One more (`now` in microseconds UTC)."""
        minutes = self._minutes.setdefault(facility, deque(maxlen=KEPT))
        minute = now // MINUTE
        if minutes and minutes[-1][0] >= minute:
            minutes[-1][1] += 1
        else:
            minutes.append([minute, 1])

    def an_hour(self, facility: str, now: int) -> float | None:
        """Jobs finished in the last hour; None if there were none."""
        first = now // MINUTE - KEPT
        found = sum(n for minute, n in self._minutes.get(facility, ()) if minute > first)
        return float(found) if found else None
