"""An observer: finished campaigns, one JSON line each."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from cmd_daemon.hooks import CommittedEvent

FINISHED = frozenset({"ACCEPTED", "FAILED", "CANCELLED"})


class Journal:
    """Appends to a file. Without a path it takes no note of anything."""

    name = "spool-journal"

    def __init__(self) -> None:
        self.path: Path | None = None

    async def observe(self, events: Sequence[CommittedEvent]) -> None:
        """Take note of campaigns that have come to their end."""
        lines = [
            json.dumps({"campaign": event.entity, "state": event.to_state, "at": event.at}) + "\n"
            for event in events
            if event.kind == "campaign"
            and event.to_state in FINISHED
            and event.from_state != event.to_state
        ]
        if lines and self.path is not None:
            await asyncio.to_thread(_append, self.path, "".join(lines))


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as journal:
        journal.write(text)
