"""Ids and sequence numbers moved by a constant: between a database and a file that counts from one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cmd_daemon.store.decided import AROUND, Line
from cmd_daemon.store.portable.form import FORMS

_IDS = {
    "campaigns": ("id",),
    "campaign_files": ("campaign_id",),
    "steps": ("id", "campaign_id"),
    "groups": ("id", "campaign_id", "step_id"),
    "jobs": ("id", "campaign_id", "step_id", "group_id"),
    "attempts": ("job_id",),
    "placements": ("group_id",),
    "effects": ("job_id", "number"),
    "events": ("campaign_id", "step_id", "group_id", "job_id"),
}
_EVENT_IDS = ("campaign_id", "step_id", "group_id", "job_id", "entity_id", "number")


@dataclass(frozen=True, slots=True)
class Shift:
    """What is added to ids, and to sequence numbers."""

    ids: int
    seqs: int

    def rows(self, table: str, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Rows of a table, columns as `FORMS`, moved."""
        columns = FORMS[table][1]
        moved = [columns.index(name) for name in _IDS[table]]
        found = [list(row) for row in rows]
        for row in found:
            for place in moved:
                if row[place]:
                    row[place] += self.ids
        if table == "events":
            at = columns.index("seq")
            for row in found:
                row[at] += self.seqs
        elif table == "groups":
            at = columns.index("jobs")
            for row in found:
                row[at] = json.dumps(self._all(json.loads(row[at])), separators=(",", ":"))
        elif table == "jobs":
            at = columns.index("commands")
            for row in found:
                if row[at] is not None:
                    row[at] = json.dumps(
                        [[n + self.ids, *others] for n, *others in json.loads(row[at])]
                    )
        return found

    def line(self, line: Line) -> Line:
        """A line of the events as they were decided, moved."""
        if line[0] == AROUND:
            return line
        kind, at, next_id, seq, campaign_id, event, schedule = line
        if campaign_id is not None:
            campaign_id += self.ids
        event = {
            name: value + self.ids if name in _EVENT_IDS and value else value
            for name, value in event.items()
        }
        if "group_ids" in event:
            event["group_ids"] = self._all(event["group_ids"])
        return [kind, at, next_id + self.ids, seq + self.seqs, campaign_id, event, schedule]

    def _all(self, ids: Sequence[int]) -> list[int]:
        return [ident + self.ids for ident in ids]
