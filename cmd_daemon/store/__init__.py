"""The durable state: campaigns, steps, groups, jobs, their history and the outbox, in SQL.

`Store.open` gives the one object of this room; the errors it raises are in `errors`.
"""

from cmd_daemon.store.dialect import Health
from cmd_daemon.store.errors import (
    AlreadyInUse,
    RowRefused,
    StoreBusy,
    StoreError,
    StoreFailing,
    StoreFenced,
    StoreFull,
    StoreUnavailable,
    StoreUnreachable,
    VersionConflict,
)
from cmd_daemon.store.loading import Loaded
from cmd_daemon.store.reading import Recount, Reference
from cmd_daemon.store.store import Store, described

__all__ = [
    "AlreadyInUse",
    "Health",
    "Loaded",
    "Recount",
    "Reference",
    "RowRefused",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreFailing",
    "StoreFenced",
    "StoreFull",
    "StoreUnavailable",
    "StoreUnreachable",
    "VersionConflict",
    "described",
]
