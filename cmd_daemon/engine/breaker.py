"""The circuit breaker of one driver at one facility."""

from dataclasses import dataclass

SECOND = 1_000_000


@dataclass(slots=True)
class Breaker:
    """Opens after `failures` calls in a row that failed as a whole; lets one call try again after a
    pause that doubles from 5 s to 5 min. While it is open nothing is submitted there, and nobody
    else is touched."""

    failures: int = 3
    failed: int = 0
    opened: int = 0
    open_until: int = 0
    message: str = ""
    last_success: int | None = None

    def state(self, now: int) -> str:
        """closed, open, or half-open (the next call is the try)."""
        if self.failed < self.failures:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def succeeded(self, now: int) -> bool:
        """A call came through. True if the breaker was open until now."""
        was_open = self.failed >= self.failures
        self.failed = self.opened = 0
        self.message = ""
        self.last_success = now
        return was_open

    def fail(self, now: int, message: str) -> bool:
        """A call failed as a whole. True if the breaker has just opened."""
        self.failed += 1
        self.message = message
        if self.failed < self.failures:
            return False
        self.open_until = now + int(min(5 * 2.0 ** min(self.opened, 10), 300.0) * SECOND)
        self.opened += 1
        return self.failed == self.failures
