"""The form of the file: JSON lines, compressed with gzip.

The first line says what the file is and in which format. Then, table by table, a line with the name of the
table and of its columns, and a line for each row. The last line has the number of lines before it and their
SHA-256. Ids and sequence numbers count from the campaign's own first: the same campaign is the same file
whatever database it comes from.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from cmd_daemon.kernel.entities import Campaign, Group, Job, Step
from cmd_daemon.kernel.records import AttemptRow, CampaignFile, Effect, PlacementRow, Record
from cmd_daemon.store import codec
from cmd_daemon.store.decided import Line
from cmd_daemon.store.errors import BadUrl, StoreError
from cmd_daemon.store.location import settle

WHAT = "a campaign of cmd-daemon with its history"
FORMAT = 1

FORMS: dict[str, tuple[type, tuple[str, ...]]] = {
    "campaigns": (Campaign, codec.CAMPAIGN),
    "campaign_files": (CampaignFile, codec.FILE),
    "steps": (Step, codec.STEP),
    "groups": (Group, codec.GROUP),
    "jobs": (Job, codec.JOB),
    "attempts": (AttemptRow, codec.ATTEMPT),
    "placements": (PlacementRow, codec.PLACEMENT),
    "effects": (Effect, codec.EFFECT),
    "events": (Record, codec.RECORD),
}
"""The tables in the file, each with the class of its rows and its columns, in the order of the file."""

DECIDED = "decided"
"""Behind them, the events as they were decided."""


class Damaged(StoreError):
    """The file is no campaign, not whole, or changed."""


@dataclass(slots=True)
class History:
    """What a file holds. `rows` by table, with columns as `FORMS`; `decided` lines, see `store.decided`."""

    campaign: str
    state: str
    rows: dict[str, list[list[Any]]] = field(default_factory=dict)
    decided: list[Line] = field(default_factory=list)


class Writing:
    """A file that grows beside the place where it will be; nothing is ever written over.

    Used as a context: at its end the file is whole, durable and in place, or, after an error, gone.
    Raises BadUrl if it cannot be written.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._half = target.with_name(f"{target.name}.{os.getpid()}")
        self._digest = hashlib.sha256()
        self._lines = 0
        self._file: IO[bytes]
        self._packed: gzip.GzipFile

    def __enter__(self) -> "Writing":
        if self._target.exists():
            raise BadUrl(f"{self._target} is there already; an export never writes over anything")
        try:
            handle = os.open(self._half, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        except OSError as error:
            raise self._failed(error) from error
        self._file = os.fdopen(handle, "wb")
        # No name and no time inside: the same campaign is the same file, byte for byte.
        self._packed = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        return self

    def lines(self, lines: Iterable[Any]) -> None:
        """Add lines, each a value that JSON holds."""
        text = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines).encode()
        self._lines += text.count(b"\n")
        self._digest.update(text)
        try:
            self._packed.write(text)
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                end = {"lines": self._lines, "sha256": self._digest.hexdigest()}
                self._packed.write(f"{json.dumps(end)}\n".encode())
                self._packed.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                self._half.rename(self._target)
                settle(self._target.parent)
        except OSError as failure:
            raise self._failed(failure) from failure
        finally:
            self._file.close()
            self._half.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> BadUrl:
        return BadUrl(f"{self._target} cannot be written: {error.strerror or error}")


def head(campaign: str, state: str, schema: int) -> dict[str, Any]:
    """The first line."""
    return {
        "what": WHAT,
        "format": FORMAT,
        "schema": schema,
        "campaign": campaign,
        "state": state,
    }


def read(file: Path) -> History:
    """The campaign in a file. Raises Damaged: the file cannot be read, is of a newer format, or is not as
    it was written."""
    try:
        with gzip.open(file, "rb") as packed:
            text = packed.read()
    except FileNotFoundError as error:
        raise Damaged(f"there is no file {file}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"{file} cannot be read, or is not whole: {error}") from error
    whole, newline, last = text.rstrip(b"\n").rpartition(b"\n")
    try:
        first = json.loads(whole.partition(b"\n")[0])
        if first["what"] != WHAT:
            raise ValueError("another kind of file")
        number, campaign, state = int(first["format"]), first["campaign"], first["state"]
    except (ValueError, TypeError, KeyError) as error:
        raise Damaged(f"{file} is not {WHAT}: {error}") from error
    if number > FORMAT:
        raise Damaged(
            f"{file} has format {number}, this daemon knows {FORMAT}: use the version that wrote it"
        )
    whole += newline
    try:
        end = json.loads(last)
        as_written = (end["lines"], end["sha256"])
    except (ValueError, TypeError, KeyError) as error:
        raise Damaged(f"{file} is not whole: its last line is missing") from error
    found = (whole.count(b"\n"), hashlib.sha256(whole).hexdigest())
    if found != as_written:
        raise Damaged(f"{file} is damaged: its lines do not have the checksum of its last one")
    history = History(campaign, state)
    try:
        _fill(history, whole.split(b"\n")[1:-1])
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Damaged(f"{file} cannot be understood: {error!r}") from error
    return history


def _fill(history: History, lines: Sequence[bytes]) -> None:
    table, places = "", None
    for text in lines:
        line = json.loads(text)
        if isinstance(line, dict):
            table = line["table"]
            places = None if table == DECIDED else _places(table, line["columns"])
            history.rows.setdefault(table, [])
        elif places is None:
            history.decided.append(line)
        else:
            history.rows[table].append([line[p] if at else p for at, p in places])
    history.rows.pop(DECIDED, None)
    if set(history.rows) != set(FORMS) or len(history.rows["campaigns"]) != 1:
        raise ValueError("a table is missing")


def _places(table: str, columns: list[str]) -> list[tuple[bool, Any]]:
    """For each column of the code: its place in the file's rows, or what rows without it have."""
    kind, known = FORMS[table]
    if unknown := set(columns) - set(known):
        raise ValueError(f"table {table} has columns of a newer version: {sorted(unknown)}")
    defaults = {f.name: f for f in fields(kind)}
    places: list[tuple[bool, Any]] = []
    for name in known:
        if name in columns:
            places.append((True, columns.index(name)))
            continue
        default = defaults[name].default
        if default is MISSING:
            raise ValueError(f"table {table} lacks the column {name}")
        places.append((False, default))
    return places
