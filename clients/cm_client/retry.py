"""When a call is tried again, and how long to wait before: pure rules, no clock."""

from dataclasses import dataclass

from .errors import CmError, connection_lost


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter; times in seconds.

    `tries` counts the first one too. The wait before try n+1 is spread evenly between half and all
    of `first * factor**(n-1)`, at most `longest`, so that many clients do not come back at once.
    """

    tries: int = 5
    first: float = 0.1
    factor: float = 2.0
    longest: float = 2.0

    def wait(self, failures: int, jitter: float) -> float:
        """Seconds to wait after so many failures in a row (from 1); jitter is from 0 to 1."""
        span = min(self.longest, self.first * self.factor ** min(failures - 1, 30))
        return span * (0.5 + 0.5 * jitter)

    def again(self, error: CmError, *, repeatable: bool, failures: int) -> bool:
        """Whether a call that failed so often may be tried again.

        Only after a lost connection, and only what is safe to do twice: a read, or a change that
        carries a request_id. Never after a deadline: it covers the call with all its tries.
        """
        return repeatable and connection_lost(error) and failures < self.tries
