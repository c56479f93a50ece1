"""What a keeper of spans is told. Without OpenTelemetry in it, so that the engine can name it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OutsideCall:
    """One call of a driver, which has ended now. `attempts` were in it; it `began` then (nanoseconds since
    the epoch); `problem` is why it failed as a whole, "" if it did not."""

    verb: str
    facility: str
    driver: str
    attempts: int
    began: int
    problem: str = ""


class Spans(Protocol):
    """Keeps spans: `cmd_daemon.observe.traces.Traces`."""

    def attempt(self, call: OutsideCall, key: str, request_id: str, refused: str) -> None:
        """The call was about the attempt of this key, asked for by the API call of that request id (""
        if by none). `refused` is why this attempt alone was refused."""

    def question(self, call: OutsideCall) -> None:
        """The call asked about all its attempts at once."""
