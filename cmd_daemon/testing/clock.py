"""A clock that stands still until a test moves it."""

START = 1_767_225_600_000_000
"""2026-01-01T00:00:00 UTC in microseconds."""


class FakeClock:
    """Microseconds since the epoch, UTC, as told by the test."""

    def __init__(self, at: int = START) -> None:
        self._at = at

    def now(self) -> int:
        """The time it shows, in microseconds."""
        return self._at

    def advance(self, seconds: float) -> int:
        """Move on (or back, as real clocks sometimes do); returns the new time."""
        self._at += round(seconds * 1_000_000)
        return self._at

    def set(self, at: int) -> None:
        """Show this time, in microseconds."""
        self._at = at
