"""When to try again, and with how much memory. Durations in microseconds unless named otherwise."""

from cmd_daemon.kernel.policy import Resources, RetryPolicy

SECOND = 1_000_000

SUBMIT_TRIES = 8
"""Unclear or failed submit calls of one attempt before a person is asked."""

MEMORY_MOST = 2**50
"""Bytes that no request grows above, if the campaign file sets no limit."""


def backoff(policy: RetryPolicy, attempts: int) -> int:
    """Pause before the attempt after `attempts` ones: doubles each time, bounded."""
    seconds = min(policy.backoff_s * 2.0 ** min(max(attempts - 1, 0), 30), policy.backoff_max_s)
    return int(seconds * SECOND)


def call_backoff(tries: int) -> int:
    """Pause before a call that failed `tries` times is made again: 2 s doubling to 5 min."""
    return int(min(2.0 * 2.0 ** min(tries - 1, 20), 300.0) * SECOND)


def memory(resources: Resources, policy: RetryPolicy, attempt: int) -> int:
    """Bytes to ask for in attempt n >= 1: min(m0 * factor**(n-1), max), the rule of BPS
    (`memoryMultiplier`, `memoryLimit`; the limit never lowers the first request)."""
    most = MEMORY_MOST if policy.memory_max is None else max(policy.memory_max, resources.memory)
    asked = float(resources.memory)
    for _ in range(attempt - 1):
        asked *= policy.memory_factor
        # A factor of 1 or less has nothing to reach, and a large one must not overflow.
        if asked >= most or policy.memory_factor <= 1.0:
            break
    return int(min(asked, most))
