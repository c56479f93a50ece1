"""One campaign as a file that knows what it is: written from a database in use, read into another one,
decided once more."""

from cmd_daemon.store.portable.exporting import export
from cmd_daemon.store.portable.form import Damaged, History, read
from cmd_daemon.store.portable.importing import bring_in
from cmd_daemon.store.portable.replaying import Diverged, Replayed, replay

__all__ = [
    "Damaged",
    "Diverged",
    "History",
    "Replayed",
    "bring_in",
    "export",
    "read",
    "replay",
]
