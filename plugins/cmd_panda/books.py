"""What the daemon keeps of the tasks it has submitted at one facility, beside what PanDA knows.

A record is there before a submission is sent and has the task's id from the answer on, so that one
without an id is a submission whose answer was lost. The outcome is kept too: PanDA moves old jobs to an
archive, and a person may have a task there go on.
"""

from pathlib import Path

from cmd_daemon.hooks import Outcome
from cmd_housekeeping.arc_records import Record, Records

MARK = "task"


def ref_of(task: int) -> str:
    """The reference of a task."""
    return f"{MARK}:{task}"


def id_of(ref: str) -> int | None:
    """The id in a reference, None where there is none."""
    mark, _, number = ref.partition(":")
    return int(number) if mark == MARK and number.isdigit() else None


class Books:
    """The records of one facility. Everything here blocks on the disk for moments."""

    def __init__(self, root: Path) -> None:
        self._records = Records(root)
        self._known: dict[str, Record] = {}

    def open(self) -> None:
        """Read the records of the attempts that are not over. Raises OSError."""
        self._records.root.mkdir(parents=True, exist_ok=True)
        for key in self._records.open_keys():
            if (record := self._records.read(key)) is not None:
                self._known[key] = record

    def get(self, key: str) -> Record | None:
        """The record of an attempt."""
        if key not in self._known and (record := self._records.read(key)) is not None:
            self._known[key] = record
        return self._known.get(key)

    def sending(self, key: str, now: int) -> None:
        """A submission is about to be sent."""
        self._known[key] = self._records.write(Record(key, sent_at=now))

    def took(self, key: str, task: int, sent_at: int = 0) -> Record:
        """PanDA has the task and calls it so. `sent_at` is for one that no record tells of (0: nobody
        knows when)."""
        former = self.get(key) or Record(key, sent_at=sent_at)
        if former.id != str(task):
            former = self._known[key] = self._records.change(former, id=str(task))
        return former

    def cancelled(self, key: str, task: int) -> None:
        """The attempt is not wanted any more."""
        record = self.took(key, task)
        if not record.cancelled:
            self._known[key] = self._records.change(record, cancelled=True)

    def forget(self, key: str) -> None:
        """The submission certainly was not taken."""
        self._known.pop(key, None)
        self._records.forget(key)

    def below(self, at: int) -> int:
        """The highest id of a task that we submitted before a moment; 0 if none is known."""
        ids = [int(each.id) for each in self._known.values() if each.id and each.sent_at < at]
        return max(ids, default=0)

    def is_open(self, key: str) -> bool:
        """Whether the attempt has a record and no outcome."""
        return key in self._known

    def outcome(self, key: str) -> Outcome | None:
        """The outcome of an attempt that is over."""
        return self._records.outcome(key)

    def keep_outcome(self, key: str, outcome: Outcome) -> None:
        """Keep it for good; the attempt is not among the open ones any more."""
        self._records.keep_outcome(key, outcome)
        self._known.pop(key, None)
