"""What can go wrong with the database, in words for people.

Two families: `StoreUnavailable` (nothing was written; the same batch may be committed again later)
and everything else (a fault of the set-up or of the program; trying again cannot help).
"""

from dataclasses import dataclass


class StoreError(Exception):
    """Base of all errors of the store. The text says what happened and what to do next."""


class StoreUnavailable(StoreError):
    """The database cannot take writes now. Nothing of the batch was written, and the same batch may
    be committed again later."""


class StoreBusy(StoreUnavailable):
    """Another connection holds the write lock of the database longer than the busy time-out."""


class StoreFull(StoreUnavailable):
    """The disk (or the database's own size limit) is full."""


class StoreFailing(StoreUnavailable):
    """The disk answers with input/output errors, or the file became read-only."""


class StoreUnreachable(StoreUnavailable, ConnectionError):
    """The database server, or the way to it, does not answer. The daemon connects again by itself."""


@dataclass(frozen=True, slots=True)
class LostRow:
    """A row that is not in the version the batch expected; `found` is None if there is no such row."""

    table: str
    id: int
    name: str
    expected: int
    found: int | None


class VersionConflict(StoreError):
    """Rows have been changed by somebody else since they were read. Nothing was written. With one
    writer this is a fault of the program: it must not be tried again.

    `lost` names every row of the first table that lost.
    """

    def __init__(self, lost: list[LostRow]) -> None:
        self.lost = lost
        shown = "; ".join(
            f"{row.table} {row.name!r} (id {row.id}): expected version {row.expected}, "
            + ("there is no such row" if row.found is None else f"found {row.found}")
            for row in lost[:5]
        )
        more = f"; and {len(lost) - 5} more" if len(lost) > 5 else ""
        super().__init__(
            f"{len(lost)} row(s) are not in the expected version; nothing was written: {shown}{more}"
        )


class RowRefused(StoreError):
    """The schema refuses a row of the batch (a name given twice, an impossible state, a value that no
    column can hold). Nothing was written.

    `table` and `row` tell which row it was, when that is known.
    """

    def __init__(self, why: str, table: str = "", row: str = "") -> None:
        self.table = table
        self.row = row
        place = f" for a row of {table}" if table else ""
        detail = f" The row: {row}" if row else ""
        super().__init__(
            f"the database refused the batch{place}: {why}. Nothing was written.{detail}"
        )


class StoreFenced(StoreError):
    """A later daemon has taken this database over. This one must stop."""


class StoreClosed(StoreError):
    """The store has been closed already."""


class BadUrl(StoreError):
    """The database URL cannot be used."""


class NotAllowed(StoreError):
    """The database server does not let the daemon in, or do its work."""


class ServerUnfit(StoreError):
    """The database server lacks what the store needs."""


class NetworkFileSystem(StoreError):
    """The database file is on a network file system, where SQLite's WAL does not work."""


class SQLiteTooOld(StoreError):
    """The SQLite library lacks what the store needs."""


class SchemaTooNew(StoreError):
    """The database was made by a later version of the daemon that this one does not understand."""


class SchemaTooOld(StoreError):
    """The database needs a migration and migrating was not allowed."""


class AlreadyInUse(StoreError):
    """Another process works on the same database."""


class NotADatabase(StoreError):
    """The file cannot be opened as a database, or is damaged."""
