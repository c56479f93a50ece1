"""Events that somebody waits for, and the ids by which the same request is recognised when it is repeated."""

import asyncio
from dataclasses import dataclass, field

from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.records import AuditRow, RequestRow

REMEMBERED = 500
REMEMBERED_US = 60_000_000
"""Requests whose answers are at hand, so many and for so long at most: one that is repeated may have
missed them in the store."""


class RequestIdReused(Exception):
    """Another request with the same id is under way or has just been answered."""


@dataclass(slots=True)
class Asked:
    """An event with somebody who waits for its commit; `answered` in microseconds UTC, 0 before."""

    event: ev.Event
    answer: asyncio.Future[Decision]
    request: RequestRow | None = None
    audit: AuditRow | None = None
    answered: int = 0


@dataclass(slots=True)
class Requests:
    """The requests under way, and the newest of those that were answered."""

    _asked: dict[str, Asked] = field(default_factory=dict)

    def find(self, request: RequestRow) -> Asked | None:
        """The same request, if it is known here. Raises RequestIdReused for another one of that id."""
        former = self._asked.get(request.request_id)
        if former is None:
            return None
        known = former.request
        if known is None or (known.method, known.digest) != (request.method, request.digest):
            raise RequestIdReused(request.request_id)
        return former

    def begin(self, request: RequestRow, asked: Asked) -> None:
        """A request is under way."""
        self._asked[request.request_id] = asked

    def answered(self, request: RequestRow, now: int) -> None:
        """It has its answer, or came to nothing and may be asked again."""
        asked = self._asked[request.request_id]
        if asked.answer.cancelled() or asked.answer.exception() is not None:
            del self._asked[request.request_id]
        asked.answered = now
        while self._asked:
            oldest, former = next(iter(self._asked.items()))
            recent = len(self._asked) <= REMEMBERED and now - former.answered <= REMEMBERED_US
            if recent or not former.answered:
                return
            del self._asked[oldest]

    def __len__(self) -> int:
        return len(self._asked)
