"""The store's errors for those of asyncpg and of the network (codes: postgresql.org/docs, "Appendix A")."""

import asyncpg
from asyncpg import exceptions as pg
from sqlalchemy.exc import SQLAlchemyError

from cmd_daemon.store.errors import (
    BadUrl,
    NotAllowed,
    RowRefused,
    StoreBusy,
    StoreError,
    StoreFailing,
    StoreFull,
    StoreUnreachable,
)

FAULTS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # seen when a session is ended between two statements
    OSError,
    TimeoutError,
    SQLAlchemyError,
)
"""What a call of asyncpg, or one through SQLAlchemy, raises when the database or the way to it fails."""

_AWAY = (
    pg.PostgresConnectionError,
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.CannotConnectNowError,
    pg.IdleSessionTimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_FULL = (pg.DiskFullError,)
_BUSY = (
    pg.TooManyConnectionsError,
    pg.LockNotAvailableError,
    pg.DeadlockDetectedError,
    pg.SerializationError,
    pg.QueryCanceledError,
    pg.ObjectInUseError,
)
_FAILING = (
    pg.OutOfMemoryError,
    pg.InsufficientResourcesError,
    pg.ReadOnlySQLTransactionError,
    pg.PostgresSystemError,
    pg.PostgresIOError,
)
_REFUSED = (pg.IntegrityConstraintViolationError, pg.DataError)


def translate(error: BaseException, database: str) -> StoreError:
    """The store's error for one of `FAULTS`."""
    cause: BaseException | None = error
    while isinstance(cause, SQLAlchemyError) or _wrapped(cause):
        inner = getattr(cause, "orig", None) or cause.__cause__ if cause is not None else None
        if inner is None:
            break
        cause = inner
    said = str(cause) or type(cause).__name__
    match cause:
        case pg.InvalidAuthorizationSpecificationError():
            return NotAllowed(
                f"the database {database} does not let the daemon in: {said}. Look at its user, its "
                "password and the server's pg_hba.conf."
            )
        case pg.InvalidCatalogNameError():
            return BadUrl(f"the database {database} does not exist: {said}. Make it with createdb.")
        case pg.InsufficientPrivilegeError():
            return NotAllowed(
                f"the daemon's user may not do its work in the database {database}: {said}. Make it "
                "the owner of the database."
            )
        case asyncpg.DataError() | pg.DataError() | pg.IntegrityConstraintViolationError():
            return refusal(cause)
        case _ if isinstance(cause, _FULL):
            return StoreFull(
                f"the disk of the database {database} is full ({said}); nothing was written. Free "
                "some room; the daemon goes on by itself."
            )
        case _ if isinstance(cause, _BUSY):
            return StoreBusy(
                f"the database {database} is busy ({said}); nothing was written. Look who else "
                "works in it."
            )
        case _ if isinstance(cause, _FAILING):
            return StoreFailing(
                f"the database {database} fails ({said}); nothing was written. Look at its server."
            )
        case _ if isinstance(cause, _AWAY):
            return StoreUnreachable(
                f"the database {database} cannot be reached ({said}). The daemon tries again by "
                "itself; look at its server and the network."
            )
    return RowRefused(said)


def _wrapped(error: BaseException | None) -> bool:
    """Whether it is SQLAlchemy's own class around an error of asyncpg."""
    return type(error).__module__.startswith("sqlalchemy.")


def refusal(error: BaseException, table: str = "", row: str = "") -> RowRefused:
    """A row that the schema, or a column's type, refuses."""
    said = str(error)
    if isinstance(error, pg.PostgresError):
        table = error.as_dict().get("table_name") or table
        said = f"{said} {error.as_dict().get('detail') or ''}".strip()
    return RowRefused(said, table, row)
