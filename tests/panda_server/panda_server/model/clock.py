"""The model's own time: naive UTC, moved by a test or running at a multiple of real speed."""

import time
from datetime import UTC, datetime, timedelta


def naive_utc() -> datetime:
    """Real time as PanDA writes it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Clock:
    """Time of the model. `speed` 0 stands still until it is moved; 1 is real speed."""

    def __init__(self, start: datetime | None = None, speed: float = 0.0) -> None:
        self.speed = speed
        self._start = start or naive_utc()
        self._real = time.monotonic()
        self._within: datetime | None = None

    def now(self) -> datetime:
        """The present, or the moment of the event that is being worked on."""
        return self._within or self.wall()

    def wall(self) -> datetime:
        """The present, also while an earlier event is worked on."""
        return self._start + timedelta(seconds=(time.monotonic() - self._real) * self.speed)

    def move(self, seconds: float) -> None:
        """Move the present."""
        self._start += timedelta(seconds=seconds)

    def work_at(self, moment: datetime | None) -> None:
        """Let `now` be the moment of an event until this is called with None."""
        self._within = moment
