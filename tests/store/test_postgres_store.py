"""PostgreSQL passes the contract of stores, and the faults that only a server can have."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
from services.databases import WALLED, Server
from services.proxy import Proxy

from cmd_daemon.kernel.decision import Batch
from cmd_daemon.store import (
    AlreadyInUse,
    RowRefused,
    Store,
    StoreBusy,
    StoreError,
    StoreFenced,
    StoreUnavailable,
)
from cmd_daemon.store.errors import (
    BadUrl,
    NotAllowed,
    SchemaTooNew,
    SchemaTooOld,
    ServerUnfit,
    StoreUnreachable,
)
from cmd_daemon.store.postgres import session
from cmd_daemon.store.postgres.address import address_of
from cmd_daemon.testing.store_contract import NOW, StoreContract, campaign, made, record

DEADLINE_S = 30.0


async def opened(url: str, **how: object) -> Store:
    return await Store.open(url, clock=lambda: NOW, **how)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def sql(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the daemon's."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something to hold; fails after the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"{true} never came to be"
        await asyncio.sleep(0.01)


class TestPostgreSQLStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url

    async def open(self, tmp_path: Path) -> Store:
        return await opened(self.url)


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    store = await opened(postgres_url)
    yield store
    await store.close()


async def test_readers_cannot_write(store: Store) -> None:
    async with store._readers.connect() as reader:
        with pytest.raises(Exception, match="read-only"):
            await reader.exec_driver_sql("DELETE FROM events")


async def test_the_writer_is_durable(store: Store) -> None:
    connection = await store._dialect._session.connection()
    assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_a_text_with_a_zero_is_refused_and_the_next_batch_is_taken(store: Store) -> None:
    with pytest.raises(RowRefused):
        await store.commit(Batch(records=[record(1), record(2, reason="a\0b")]))
    await store.commit(Batch(records=[record(1)]))
    assert await store.last_seq() == 1


async def test_the_row_that_is_refused_is_told(store: Store) -> None:
    await store.commit(made(campaign()))
    with pytest.raises(RowRefused, match="twice"):
        await store.commit(made(campaign(1), campaign(2, name="twice"), campaign(3, name="twice")))


async def test_a_locked_row_is_waited_for_and_told(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await store._dialect._session.connection()
    await connection.execute("SET lock_timeout = 50")
    async with sql(postgres_url) as other:
        await other.execute("BEGIN; SELECT * FROM meta FOR UPDATE")
        with pytest.raises(StoreBusy, match="busy"):
            await store.commit(Batch(records=[record(1)]))
        assert await store.last_seq() == 0
        await other.execute("ROLLBACK")
    await store.commit(Batch(records=[record(1)]))
    assert await store.last_seq() == 1


async def test_a_daemon_that_was_taken_over_writes_no_more(store: Store, postgres_url: str) -> None:
    await store.commit(Batch(records=[record(1)]))
    async with sql(postgres_url) as other:
        await other.execute("UPDATE meta SET epoch = epoch + 1")
    with pytest.raises(StoreFenced, match="must stop"):
        await store.commit(Batch(records=[record(2)]))
    with pytest.raises(StoreFenced):
        await store.prune_requests(NOW)
    with pytest.raises(StoreFenced):
        await asyncio.wait_for(store.keep_lead(), DEADLINE_S)
    assert await store.last_seq() == 1


async def test_a_second_daemon_is_refused_or_stands_by(store: Store, postgres_url: str) -> None:
    with pytest.raises(AlreadyInUse, match=r"process \d+ on "):
        await opened(postgres_url)
    await store.commit(Batch(records=[record(1)]))
    second = await opened(postgres_url, standby=True)
    assert second.leader
    assert not second.behind
    assert await second.last_seq() == 1
    with pytest.raises(StoreFenced, match="stand-by"):
        await second.commit(Batch(records=[record(2)]))
    leading = asyncio.create_task(second.lead())
    await store.commit(Batch(records=[record(2)]))
    assert not leading.done()
    await store.close()
    await asyncio.wait_for(leading, DEADLINE_S)
    assert second.leader == ""
    await second.commit(Batch(records=[record(3)]))
    await second.close()


async def test_a_silent_leader_is_taken_over_and_fenced(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TAKEOVER_S", 2.5)
    second = await opened(postgres_url, standby=True)
    living = asyncio.create_task(store.keep_lead())
    leading = asyncio.create_task(second.lead())
    await asyncio.wait([leading], timeout=5.0)
    assert not leading.done(), "a leader that lives was taken over"
    living.cancel()
    await asyncio.wait_for(leading, DEADLINE_S)
    with pytest.raises(StoreFenced):
        await store.commit(Batch(records=[record(1)]))
    await second.commit(Batch(records=[record(1)]))
    await second.close()


async def test_a_transaction_that_sleeps_is_undone_by_the_takeover(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TAKEOVER_S", 0.5)
    connection = await store._dialect._session.begin()
    await connection.execute("INSERT INTO requests VALUES ('half', 'm', 'd', '', 1)")
    second = await opened(postgres_url, standby=True)
    await asyncio.wait_for(second.lead(), DEADLINE_S)
    assert await second.find_request("half") is None
    await second.commit(Batch(records=[record(1)]))
    await second.close()


@pytest.fixture
async def proxied(postgres_server: Server, postgres_url: str) -> AsyncIterator[tuple[Proxy, Store]]:
    """A store whose way to the database can be broken."""
    async with Proxy(postgres_server.postgres.port).running() as proxy:
        name = postgres_url.rpartition("/")[2]
        store = await opened(postgres_server.url(name, port=proxy.port))
        yield proxy, store
        await store.close()


async def retried(store: Store, batch: Batch) -> int:
    """Commit as the engine does: the same batch until it is taken; how often that failed."""
    for times in range(200):
        try:
            await store.commit(batch)
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        else:
            return times
    raise AssertionError("the store never took it")


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    proxied: tuple[Proxy, Store],
) -> None:
    proxy, store = proxied
    await store.commit(Batch(records=[record(1)]))
    batch = Batch(records=[record(2)])

    def lose(point: str) -> None:
        proxy.lose_answers = point == "before-commit"

    store.on_commit_point = lose
    writing = asyncio.create_task(store.commit(batch))
    await asyncio.wait_for(proxy.lost.wait(), DEADLINE_S)
    store.on_commit_point, proxy.lose_answers = None, False
    proxy.cut()
    with pytest.raises(StoreUnreachable, match="cannot be reached"):
        await writing
    assert await store.last_seq() == 2, "the database has it, and the daemon does not know"
    await retried(store, batch)
    await store.commit(Batch(records=[record(3)]))
    assert [e.seq for e in await store.events()] == [1, 2, 3]


async def test_a_commit_that_did_not_arrive_is_made_again(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    batch = Batch(records=[record(1)])

    def cut(point: str) -> None:
        proxy.cut()

    store.on_commit_point = cut
    with pytest.raises(StoreUnreachable):
        await store.commit(batch)
    store.on_commit_point = None
    assert await retried(store, batch) < 100
    assert [e.seq for e in await store.events()] == [1]


async def test_no_outside_call_while_another_daemon_may_lead(
    proxied: tuple[Proxy, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, store = proxied
    monkeypatch.setattr("cmd_daemon.store.postgres.dialect.LEASE_S", 0.2)
    monkeypatch.setattr("cmd_daemon.store.postgres.dialect.TAKEOVER_S", 0.4)
    proxy.closed = True
    proxy.cut()
    await until(store.overslept)
    asking = asyncio.create_task(store.leading())
    await asyncio.wait([asking], timeout=1.0)
    assert not asking.done()
    proxy.closed = False
    await asyncio.wait_for(asking, DEADLINE_S)
    assert not store.overslept()


async def test_reading_tells_that_the_database_is_away(proxied: tuple[Proxy, Store]) -> None:
    proxy, store = proxied
    assert await store.last_seq() == 0
    proxy.closed = True
    proxy.cut()
    with pytest.raises(ConnectionError, match="cannot be reached"):
        await store.last_seq()
    assert "cannot be reached" in (await store.check()).problem
    proxy.closed = False
    assert await store.last_seq() == 0
    health = await store.check()
    assert health.problem == ""
    assert (health.size_bytes or 0) > 10_000


async def test_a_server_that_was_stopped_and_started(own_postgres: Server) -> None:
    store = await opened(await asyncio.to_thread(own_postgres.empty))
    await store.commit(Batch(records=[record(1)]))
    await asyncio.to_thread(own_postgres.stop)
    batch = Batch(records=[record(2)])
    with pytest.raises(StoreUnreachable):
        await store.commit(batch)
    await asyncio.to_thread(own_postgres.start_again)
    await retried(store, batch)
    assert [e.seq for e in await store.events()] == [1, 2]
    await store.close()


# --- what a person sees at the start ---------------------------------------------------------------


async def refusal(url: str, kind: type[StoreError], **how: object) -> str:
    with pytest.raises(kind) as caught:
        await opened(url, **how)
    return str(caught.value)


async def test_passwords_come_by_reference_and_are_never_shown(
    postgres_server: Server, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = postgres_url.rpartition("/")[2]
    url = postgres_server.url(name, user=WALLED)
    secret = tmp_path / "secret"
    async with sql(postgres_url) as owner:
        await owner.execute(
            f"DROP ROLE IF EXISTS {WALLED}; CREATE ROLE {WALLED} LOGIN PASSWORD 'pä ss:w%rd'; "
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {WALLED}"
        )
        try:
            secret.write_text("wrong-word\n")
            words = await refusal(url, NotAllowed, password_file=secret)
            assert "does not let the daemon in" in words
            assert "wrong-word" not in words
            secret.write_text("pä ss:w%rd\n")
            await (await opened(url, password_file=secret)).close()
            monkeypatch.setenv("PGPASSWORD", "pä ss:w%rd")
            await (await opened(url)).close()
            monkeypatch.delenv("PGPASSWORD")
            passfile = tmp_path / "pgpass"
            passfile.write_text(f"*:*:{name}:{WALLED}:pä ss:w%rd\n", encoding="utf-8")
            passfile.chmod(0o600)
            await (await opened(f"{url}?passfile={passfile}")).close()
            words = await refusal(url, BadUrl, password_file=tmp_path / "nowhere")
            assert "nowhere" in words
        finally:
            await owner.execute(f"DROP OWNED BY {WALLED}; DROP ROLE {WALLED}")
    words = await refusal(url.replace(WALLED, f"{WALLED}:hunter2"), BadUrl)
    assert "database_password_file" in words
    assert "hunter2" not in words


async def test_without_rights_the_schema_is_not_made(
    postgres_server: Server, tmp_path: Path
) -> None:
    empty = await asyncio.to_thread(postgres_server.empty)
    async with sql(empty) as owner:
        await owner.execute("CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        try:
            words = await refusal(empty.replace("//cmd@", "//guest@"), NotAllowed)
            assert "Make it the owner" in words
        finally:
            await owner.execute("DROP ROLE guest")


async def test_what_cannot_be_used_is_told(postgres_server: Server, postgres_url: str) -> None:
    assert "createdb" in await refusal(postgres_server.url("nowhere"), BadUrl)
    words = await refusal("postgresql+asyncpg://cmd@127.0.0.1:1/x", StoreUnreachable)
    assert "127.0.0.1:1/x" in words
    assert "'sslmode'" in await refusal(f"{postgres_url}?sslmode=require", BadUrl)
    assert "cannot be used" in await refusal(f"{postgres_url}?ssl=perhaps", BadUrl)
    await refusal("mysql://x/y", BadUrl)


async def test_a_schema_of_another_version(postgres_server: Server, postgres_url: str) -> None:
    empty = await asyncio.to_thread(postgres_server.empty)
    assert "has schema 0" in await refusal(empty, SchemaTooOld, migrate=False)
    await (await opened(empty)).close()
    async with sql(empty) as owner:
        await owner.execute("UPDATE meta SET oldest_code = 99, schema_version = 99")
    assert "later version" in await refusal(empty, SchemaTooNew)


async def test_a_standby_of_newer_code_waits_to_migrate(postgres_server: Server) -> None:
    """The leader is an older daemon: what it made cannot be read yet."""
    empty = await asyncio.to_thread(postgres_server.empty)
    async with sql(empty) as older:
        await older.execute("SELECT pg_advisory_lock($1, $2)", *session.LOCK)
        newer = await opened(empty, standby=True)
        assert newer.behind
        assert newer.leader
    await asyncio.wait_for(newer.lead(), DEADLINE_S)
    assert not newer.behind
    await newer.commit(made(campaign()))
    await newer.close()


async def test_an_encoding_that_loses_letters_is_refused(postgres_server: Server) -> None:
    make = "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    await asyncio.to_thread(postgres_server.postgres.sql, make)
    assert "LATIN1" in await refusal(postgres_server.url("latin"), ServerUnfit)


def test_where_the_password_comes_from_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    url = "postgresql+asyncpg://cmd@db.example:5433/cmd?ssl=verify-full"
    assert str(address_of(url)) == "db.example:5433/cmd"
    assert ".pgpass" in address_of(url).secret
    assert "/run/secret" in address_of(url, Path("/run/secret")).secret
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert "hunter2" not in address_of(url).secret
