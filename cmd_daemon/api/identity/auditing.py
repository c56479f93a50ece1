"""The audit: what is written about calls, and how much of it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import grpc
import structlog

from cmd_daemon.api.errors import ApiError
from cmd_daemon.engine.engine import Engine
from cmd_daemon.kernel.records import AuditRow

log = structlog.get_logger()

BURST = 20
EVERY_S = 6.0
"""Refused attempts of one caller that are written: so many at once, then one in so many seconds."""

BURST_OF_ALL = 200
EVERY_OF_ALL_S = 0.6
REMEMBERED = 1000
TOLD = ("who", "proof", "peer", "method", "name", "reason", "result")
MESSAGE = 1000


class _Bucket:
    """`burst` at once, then one in `every_s` seconds; counts what did not go through."""

    def __init__(self, burst: int, every_s: float, now: float) -> None:
        self.left = float(burst)
        self.dropped = 0
        self._burst, self._every_s, self._at = burst, every_s, now

    def take(self, now: float) -> bool:
        self.left = min(self._burst, self.left + (now - self._at) / self._every_s)
        self._at = now
        if self.left < 1:
            self.dropped += 1
            return False
        self.left -= 1
        return True


class Auditor:
    """Writes about calls. A refused attempt never waits for the store, and a flood of them is cut."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self.monotonic = monotonic
        self._all = _Bucket(BURST_OF_ALL, EVERY_OF_ALL_S, monotonic())
        self._of: OrderedDict[str, _Bucket] = OrderedDict()
        self.writing: set[asyncio.Task[None]] = set()

    async def ended(self, row: AuditRow, error: ApiError | None) -> None:
        """A call that changes something is over. What the engine has committed is written already."""
        if row.result:
            return
        row.result = "OK" if error is None else error.reason
        row.message = "" if error is None else str(error)[:MESSAGE]
        await self._write(row)

    def refused(self, row: AuditRow, error: ApiError) -> None:
        """A call was refused for who makes it."""
        now = self.monotonic()
        key = row.who or _host(row.peer)
        bucket = self._of.get(key)
        if bucket is None:
            bucket = self._of[key] = _Bucket(BURST, EVERY_S, now)
        self._of.move_to_end(key)
        while len(self._of) > REMEMBERED:
            self._of.popitem(last=False)
        if not bucket.take(now) or not self._all.take(now):
            return
        row.result, row.message = error.reason, str(error)[:MESSAGE]
        for each in (bucket, self._all):
            if each.dropped:
                row.message += (
                    f" ({each.dropped} more were refused since the last that was written)"
                )
                each.dropped = 0
                break
        log.warning(
            "a call was refused", who=row.who, peer=row.peer, method=row.method, result=row.result
        )
        task = asyncio.create_task(self._write(row))
        self.writing.add(task)
        task.add_done_callback(self.writing.discard)

    async def _write(self, row: AuditRow) -> None:
        problem = self._engine.standing_by or self._engine.writer.problem
        if not problem:
            await self._engine.writer.audit(row)
            return
        told = {name: getattr(row, name) for name in TOLD}
        log.warning("a call is only audited here", **told, problem=problem)


def is_refusal(error: ApiError) -> bool:
    """Whether a call was refused for who makes it, or for how many."""
    return error.code in (
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )


def _host(peer: str) -> str:
    return peer.rpartition(":")[0]
