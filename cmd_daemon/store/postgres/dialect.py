"""A PostgreSQL database behind the store: the session that writes, and the readers beside it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store.dialect import CommitPoint, Health, ReaderConnection, to_its_end
from cmd_daemon.store.errors import (
    LostRow,
    RowRefused,
    StoreError,
    StoreFenced,
    StoreUnavailable,
    StoreUnreachable,
    VersionConflict,
)
from cmd_daemon.store.postgres.address import SCHEME, Address, address_of
from cmd_daemon.store.postgres.faults import FAULTS, translate
from cmd_daemon.store.postgres.schema import settle
from cmd_daemon.store.postgres.session import BEAT_S, LEASE_S, TAKEOVER_S, Session
from cmd_daemon.store.postgres.statements import make
from cmd_daemon.store.writing import Change, Lost, plan

READERS = 4
READ_S = 60.0
AGAIN_S = 0.2
DOUBT_S = 4.5
"""Seconds without a word of the database after which a call under way is broken off: late enough for a
slow commit, and early enough to be over when a stand-by takes over."""


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A batch whose COMMIT had no answer, and the count the database shows if it came through."""

    batch: Batch
    commits: int


class PostgreSQL:
    """An open PostgreSQL database; see `dialect.Dialect`."""

    def __init__(self, session: Session, readers: AsyncEngine) -> None:
        self.readers = readers
        self.on_commit_point: CommitPoint | None = None
        self._session = session
        self._doubt: _Doubt | None = None

    @classmethod
    async def open(
        cls, url: str, *, migrate: bool, password_file: Path | None, standby: bool
    ) -> "PostgreSQL":
        """Open the database, making or migrating the schema if allowed. Errors: see `Store.open`."""
        address = address_of(url, password_file)
        session = Session(address, migrate)
        try:
            await session.open(standby)
        except BaseException:
            session.drop()
            raise
        return cls(session, _open_readers(address))

    @property
    def leader(self) -> str:
        """Who leads instead; empty if this daemon leads."""
        return self._session.leader

    @property
    def behind(self) -> bool:
        """Whether the schema is older than this code, and another daemon leads."""
        return self._session.behind

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A reader's connection. Raises StoreUnavailable if the database cannot be reached."""
        try:
            async with self.readers.connect() as connection:
                yield connection
        except FAULTS as error:
            raise translate(error, str(self._session.address)) from error

    async def write(self, batch: Batch) -> None:
        """Write the batch in one transaction, or nothing; see `Store.commit`."""
        await to_its_end(self._write(batch))

    async def remove(self, statements: Sequence[str]) -> int:
        """Delete rows in one transaction; how many."""
        return await to_its_end(self._remove(statements))

    async def lead(self) -> None:
        """See `Store.lead`."""
        await self._session.lead()

    async def keep_lead(self) -> None:
        """See `Store.keep_lead`."""
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(StoreUnavailable):
                await self._session.beat()

    async def leading(self) -> None:
        """See `Store.leading`."""
        while self._session.silence() > LEASE_S:
            try:
                await self._session.beat()
            except StoreFenced:
                await asyncio.Event().wait()  # `keep_lead` ends the daemon
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_S)

    async def lead_in_doubt(self) -> None:
        """See `Store.lead_in_doubt`."""
        while True:
            left = DOUBT_S - self._session.silence()
            if left <= 0:
                return
            await asyncio.sleep(left)

    def overslept(self) -> bool:
        """See `Store.overslept`."""
        return self._session.silence() > TAKEOVER_S

    async def check(self, deep: bool = False) -> Health:
        """See `Store.check`; `deep` asks nothing more: the server looks after its files itself."""
        try:
            async with self.reading() as reader:
                ask = "SELECT pg_database_size(current_database()) FROM meta"
                size = (await reader.exec_driver_sql(ask)).scalar_one()
        except StoreError as error:
            return Health(str(error), None, None)
        return Health("", None, size)

    async def close(self) -> None:
        """Wait for the transaction under way, close all connections, give the lead back."""
        await self.readers.dispose()
        await self._session.close()

    # --- one after another ------------------------------------------------------------------------

    async def _write(self, batch: Batch) -> None:
        session = self._session
        try:
            changes = plan(batch)
        except (TypeError, ValueError) as error:
            raise RowRefused(str(error)) from error
        async with session.turn:
            if await self._came_through(batch):
                return
            connection = await session.begin()
            try:
                for change in changes:
                    await make(connection, change)
                self._point("before-commit")
                self._doubt = _Doubt(batch, session.commits + 1)
                await self._commit()
            except Lost as lost:
                await session.roll_back()
                raise VersionConflict(await self._lost_rows(lost.change)) from None
            except FAULTS as error:
                failed = translate(error, str(session.address))
                if isinstance(failed, StoreUnreachable):
                    session.drop()
                else:
                    self._doubt = None
                    await session.roll_back()
                raise failed from error
            except BaseException:
                await session.roll_back()
                raise
            self._doubt = None
        self._point("after-commit")

    async def _came_through(self, batch: Batch) -> bool:
        """Whether this very batch was committed after all, when the connection broke at its COMMIT."""
        doubt = self._doubt
        if doubt is None:
            return False
        await self._session.connection()
        self._doubt = None
        return doubt.batch is batch and self._session.commits == doubt.commits

    async def _commit(self) -> None:
        session = self._session
        connection = await session.connection()
        done = await connection.execute("COMMIT")
        if done != "COMMIT":
            raise RowRefused(f"the transaction ended with {done}")
        session.commits += 1

    async def _remove(self, statements: Sequence[str]) -> int:
        session = self._session
        async with session.turn:
            connection = await session.begin()
            try:
                done = [await connection.execute(statement) for statement in statements]
                await self._commit()
            except FAULTS as error:
                session.drop()
                raise translate(error, str(session.address)) from error
        return sum(int(word.rpartition(" ")[2]) for word in done)

    def _point(self, name: str) -> None:
        if self.on_commit_point is not None:
            self.on_commit_point(name)

    async def _lost_rows(self, change: Change) -> list[LostRow]:
        """The rows of an update that are not in the expected version, asked after the rollback."""
        connection = await self._session.connection()
        ids = [row[-2] for row in change.rows]
        ask = f"SELECT id, version, name FROM {change.table} WHERE id = ANY($1::int8[])"
        found = {row["id"]: row for row in await connection.fetch(ask, ids)}
        lost = []
        for row in change.rows:
            ident, expected = row[-2], row[-1]
            there = found.get(ident)
            if there is None:
                lost.append(LostRow(change.table, ident, "", expected, None))
            elif there["version"] != expected:
                lost.append(LostRow(change.table, ident, there["name"], expected, there["version"]))
        return lost


@contextlib.asynccontextmanager
async def looked_at(url: str, password_file: Path | None) -> AsyncIterator[ReaderConnection]:
    """See `looking.looked_at`."""
    address = address_of(url, password_file)
    connection = await address.connect({}, READ_S)
    try:
        await settle(connection, address, migrate=False)
    finally:
        await connection.close()
    readers = _open_readers(address)

    @contextlib.asynccontextmanager
    async def reading() -> AsyncIterator[AsyncConnection]:
        try:
            async with readers.connect() as reader:
                yield reader
        except FAULTS as error:
            raise translate(error, str(address)) from error

    try:
        yield reading
    finally:
        await readers.dispose()


def _open_readers(address: Address) -> AsyncEngine:
    return create_async_engine(
        f"{SCHEME}://",
        async_creator=lambda: address.connect({"default_transaction_read_only": "on"}, READ_S),
        isolation_level="AUTOCOMMIT",
        pool_size=READERS,
        max_overflow=0,
        pool_pre_ping=True,  # the server may have been started anew
    )
