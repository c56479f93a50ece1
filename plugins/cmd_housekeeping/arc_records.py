"""What the daemon keeps of attempts at a computing element: one folder for each.

    job.json      {key, id, sent_at, uploaded, cancelled, duplicates}; id is empty until the answer
    run.sh, script   the files that have to be uploaded
    log.txt, exit.json   brought here from the session
    outcome.json  the outcome; written last, and from then on the only truth

Everything here blocks on the disk for moments.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import ErrorClass, Failure, Outcome
from cmd_housekeeping.naming import ref_of


def write_durably(path: Path, text: str) -> None:
    """Replace a file at once and for good."""
    partial = path.with_name(f".{path.name}.new")
    with partial.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt as we know it. `sent_at` in microseconds UTC; `duplicates` are further jobs of
    the same name, which nobody asked for."""

    key: str
    id: str = ""
    sent_at: int = 0
    uploaded: bool = False
    cancelled: bool = False
    duplicates: tuple[str, ...] = ()


class Records:
    """The folders of one facility's attempts."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """The attempt's folder."""
        return self.root / ref_of(key)

    def read(self, key: str) -> Record | None:
        """The record, or None where there is none."""
        try:
            fields = json.loads((self.folder(key) / "job.json").read_text())
        except FileNotFoundError:
            return None
        return Record(**{**fields, "duplicates": tuple(fields["duplicates"])})

    def write(self, record: Record) -> Record:
        """Keep a record; its folder is made."""
        folder = self.folder(record.key)
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / "job.json", json.dumps(dataclasses.asdict(record)))
        return record

    def change(self, record: Record, **fields: Any) -> Record:
        """Keep a record with some fields changed."""
        return self.write(dataclasses.replace(record, **fields))

    def forget(self, key: str) -> None:
        """Remove the record of what certainly was not taken."""
        (self.folder(key) / "job.json").unlink(missing_ok=True)

    def keep_files(self, key: str, files: Mapping[str, str]) -> None:
        """Keep the files to upload, before the job is known to anybody."""
        folder = self.folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_durably(folder / name, text)

    def open_keys(self) -> set[str]:
        """The attempts that were sent and whose outcome is not here yet."""
        found = set()
        for file in self.root.glob("*/*/*/job.json"):
            if not (file.parent / "outcome.json").exists():
                found.add(str(json.loads(file.read_text())["key"]))
        return found

    def outcome(self, key: str) -> Outcome | None:
        """The outcome, or None while the attempt is not over."""
        try:
            fields = json.loads((self.folder(key) / "outcome.json").read_text())
        except FileNotFoundError:
            return None
        failures = tuple(Failure(**failure) for failure in fields.pop("failures"))
        word = fields.pop("error_class")
        fields.pop("quanta")
        return Outcome(**fields, failures=failures, error_class=ErrorClass(word) if word else None)

    def keep_outcome(self, key: str, outcome: Outcome) -> None:
        """Keep the outcome for good."""
        text = json.dumps(dataclasses.asdict(outcome))
        write_durably(self.folder(key) / "outcome.json", text)
