"""How much one caller may have under way."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from cmd_daemon.api.errors import ApiError
from cmd_daemon.api.identity.caller import Caller
from cmd_daemon.api.identity.settings import LimitsSection


class Limits:
    """Counts calls and streams of each caller."""

    def __init__(self, settings: LimitsSection) -> None:
        self._settings = settings
        self.calls: Counter[tuple[str, str]] = Counter()
        self.watchers: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def taken(self, caller: Caller, stream: bool) -> Iterator[None]:
        """Within the block the caller has one call, or stream, more. Raises ApiError if that is too many."""
        counted, most = (
            (self.watchers, self._settings.watchers)
            if stream
            else (self.calls, self._settings.calls)
        )
        key = (caller.proof, caller.who)
        if counted[key] >= most:
            raise _too_many_watchers(caller, most) if stream else _too_many_calls(caller, most)
        counted[key] += 1
        try:
            yield
        finally:
            counted[key] -= 1
            if not counted[key]:
                del counted[key]


def _too_many_calls(caller: Caller, most: int) -> ApiError:
    return ApiError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_CALLS",
        f"{caller.who} has {most} calls under way, and that is the limit. Wait for their answers; nothing "
        "was done.",
        {"limit": str(most)},
    )


def _too_many_watchers(caller: Caller, most: int) -> ApiError:
    return ApiError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_WATCHERS",
        f"{caller.who} has {most} streams (watches, logs) open, and that is the limit. End some of them.",
        {"limit": str(most)},
    )
