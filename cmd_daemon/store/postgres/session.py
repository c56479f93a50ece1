"""The one session through which a daemon leads and writes.

Who holds the advisory lock leads, and the lock lives in the session that writes: a daemon whose
session is gone cannot write. Each new leader counts `meta.epoch` up, and each transaction names the
epoch it belongs to.

A leader shows every `BEAT_S` seconds that it lives, by any statement. A stand-by that sees none for
`TAKEOVER_S` seconds ends the leader's session and leads. A leader that could not reach the database
for `LEASE_S` seconds makes no outside calls until it has: so it is silent before another begins.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any

from cmd_daemon.store.errors import (
    AlreadyInUse,
    ServerUnfit,
    StoreClosed,
    StoreError,
    StoreFenced,
    StoreUnavailable,
    StoreUnreachable,
)
from cmd_daemon.store.postgres.address import NAME, Address
from cmd_daemon.store.postgres.faults import FAULTS, translate
from cmd_daemon.store.postgres.schema import schema_version, settle

BEAT_S = 1.0
LEASE_S = 3.0
TAKEOVER_S = 6.0
GRACE_S = 3.0
"""Seconds that a stand-by leaves to the former leader when the database has been away from both."""

COMMAND_S = 60.0
"""Seconds one statement may take; then the server is taken for hung, and the session is given up."""

BEAT_TIMEOUT_S = 5.0
OLDEST_SERVER = 140000
"""PostgreSQL 14, as `server_version_num` has it."""

LOCK = (0x636D64, 1)  # "cmd"; see "Advisory Locks", postgresql.org/docs

SETTINGS = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "0",
    # A set of changes names its rows by their keys: whatever the statistics say, read no whole table.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

_HOLDER = """
SELECT a.pid, a.application_name, host(a.client_addr) AS came_from, a.state,
  extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS silent_s
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """The session that holds the lock."""

    pid: int
    name: str
    frozen: bool


class Session:
    """Connects, leads, and notices when it leads no more. Whoever uses it holds `turn`."""

    def __init__(self, address: Address, migrate: bool) -> None:
        self.address = address
        self.turn = asyncio.Lock()
        self.leader = ""
        self.behind = False
        self.epoch = 0
        self.commits = 0
        self.confirmed = 0.0
        self._migrate = migrate
        self._connection: Any = None
        self._held_in = 0  # process of the server that the lock was last held in
        self._came = 0.0
        self._leads = False
        self._closed = False

    async def connection(self) -> Any:
        """The leader's connection, made anew if it was lost. Raises StoreFenced or StoreUnavailable."""
        if not self._leads:
            raise StoreFenced(f"this daemon is a stand-by: {self.leader} works on {self.address}")
        if self._alive():
            return self._connection
        connection = await self._connect()
        epoch, commits = await self._ask(
            connection.fetchrow("SELECT epoch, commits FROM meta WHERE id = 1")
        )
        self._check(epoch)
        if not await self._ask(connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *LOCK)):
            holder = await self._holder()
            if holder is not None and holder.pid == self._held_in:
                # Our own last session, of which the server does not know yet that it is broken.
                await self._ask(connection.fetchval("SELECT pg_terminate_backend($1)", holder.pid))
            self.drop()
            raise StoreUnavailable(
                f"the lead of the database {self.address} is not free yet; it is asked for again"
            )
        # Nobody counted the epoch up between the look and the lock, or the next statement tells.
        self.commits = commits
        self._held_in = connection.get_server_pid()
        return connection

    async def begin(self) -> Any:
        """Begin a transaction, the next by count, which nobody but the leader can. Raises StoreFenced
        or StoreUnavailable."""
        connection = await self.connection()
        began = time.monotonic()
        try:
            done = await self._ask(
                connection.execute(
                    f"BEGIN; UPDATE meta SET commits = {self.commits + 1} "
                    f"WHERE id = 1 AND epoch = {self.epoch}"
                )
            )
        except StoreError:
            await self.roll_back()
            raise
        if done != "UPDATE 1":
            await self.roll_back()
            raise self._fenced()
        self.confirmed = began
        return connection

    async def roll_back(self) -> None:
        """Undo the transaction under way; a session that cannot is given up, which undoes it too."""
        if not self._alive():
            return
        try:
            await self._connection.execute("ROLLBACK")
        except FAULTS:
            self.drop()

    async def beat(self) -> None:
        """Show that this daemon lives, and see that it leads. Raises StoreFenced or StoreUnavailable."""
        async with self.turn:
            connection = await self.connection()
            began = time.monotonic()
            epoch = await self._ask(
                connection.fetchval("SELECT epoch FROM meta WHERE id = 1", timeout=BEAT_TIMEOUT_S)
            )
            self._check(epoch)
            self.confirmed = began

    async def open(self, standby: bool) -> None:
        """Connect, and lead if nobody does. Raises StoreError, AlreadyInUse unless it may stand by."""
        await self._connect()
        holder = await self._holder()
        if holder is None and await self._take():
            return
        self.leader = holder.name if holder is not None else "another daemon"
        if not standby:
            raise AlreadyInUse(
                f"another daemon, {self.leader}, works on the database {self.address}. Stop it "
                "first, or give this daemon a database of its own."
            )
        await self._look_behind()

    async def lead(self) -> None:
        """Wait until nobody else leads, then lead. Raises StoreError if that can never be."""
        while not self._leads:
            with contextlib.suppress(StoreUnavailable):
                async with self.turn:
                    if not self._alive():
                        await self._connect()
                        self._came = time.monotonic()
                    if await self._succeed():
                        return
            await asyncio.sleep(BEAT_S)

    async def close(self) -> None:
        """Give the lead back."""
        async with self.turn:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(*FAULTS):
                    await connection.close(timeout=2.0)

    def drop(self) -> None:
        """Give the connection up, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def silence(self) -> float:
        """Seconds since the database was last heard of; a stand-by does not count them."""
        return time.monotonic() - self.confirmed if self._leads else 0.0

    # --- inside -----------------------------------------------------------------------------------

    def _alive(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def _connect(self) -> Any:
        if self._closed:
            raise StoreClosed(f"the database {self.address} has been closed")
        self.drop()
        connection = await self.address.connect(SETTINGS, COMMAND_S)
        self._connection = connection
        version, encoding = await self._ask(
            connection.fetchrow(
                "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')"
            )
        )
        if version < OLDEST_SERVER or encoding != "UTF8":
            self.drop()
            raise ServerUnfit(
                f"the database {self.address} is on PostgreSQL {version // 10000} with the encoding "
                f"{encoding}; the store needs {OLDEST_SERVER // 10000} or later and UTF8"
            )
        return connection

    async def _ask(self, work: Any) -> Any:
        """Await a statement; a fault of the connection gives it up."""
        try:
            return await work
        except FAULTS as error:
            failed = translate(error, str(self.address))
            if isinstance(failed, StoreUnreachable):
                self.drop()
            raise failed from error

    async def _holder(self) -> Holder | None:
        row = await self._ask(self._connection.fetchrow(_HOLDER, *LOCK))
        if row is None:
            return None
        program, host, process = [*str(row["application_name"]).split(":"), "", ""][:3]
        name = f"process {process} on {host}" if program == NAME else f"the program {program!r}"
        # While the server works for it ("active"), it is the server that is slow.
        silent = row["state"] not in ("active", None) and (row["silent_s"] or 0.0) > TAKEOVER_S
        return Holder(row["pid"], name, silent)

    async def _look_behind(self) -> None:
        self.behind = await schema_version(self._connection, self.address) is None

    async def _succeed(self) -> bool:
        """Lead if the lead is free, or its holder is silent for too long."""
        holder = await self._holder()
        if holder is not None:
            self.leader = holder.name
            if not holder.frozen:
                if self.behind:  # the leader may have migrated
                    await self._look_behind()
                return False
            await self._ask(
                self._connection.fetchval("SELECT pg_terminate_backend($1, 2000)", holder.pid)
            )
        elif time.monotonic() - self._came < GRACE_S:
            return False
        return await self._take()

    async def _take(self) -> bool:
        """Take the lock and count the epoch up, on a schema that is up to date."""
        connection = self._connection
        if not await self._ask(connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *LOCK)):
            return False
        try:
            await settle(connection, self.address, self._migrate)
        except BaseException:
            self.drop()
            raise
        began = time.monotonic()
        row = await self._ask(
            connection.fetchrow(
                "UPDATE meta SET epoch = epoch + 1 WHERE id = 1 RETURNING epoch, commits"
            )
        )
        self.epoch, self.commits = row
        self.confirmed = began
        self._leads = True
        self._held_in = connection.get_server_pid()
        self.leader, self.behind = "", False
        return True

    def _check(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.drop()
            raise self._fenced()

    def _fenced(self) -> StoreFenced:
        return StoreFenced(
            f"a later daemon has taken over the database {self.address} (ours was the epoch "
            f"{self.epoch}): this one must stop; nothing was written"
        )
