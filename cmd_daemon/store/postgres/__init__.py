"""PostgreSQL: one session that holds the lead and writes, a small pool of readers that cannot write.

The session holds an advisory lock, and everything is written through it: a daemon that lost its
session cannot write, and one that lost the lead finds another epoch and is refused.
"""

from cmd_daemon.store.postgres.address import address_of
from cmd_daemon.store.postgres.dialect import PostgreSQL, looked_at

__all__ = ["PostgreSQL", "address_of", "looked_at"]
