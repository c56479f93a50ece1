"""Databases for the daemons of tests: SQLite files, or databases of one PostgreSQL server."""

import asyncio
import itertools
import shutil
import signal
import tempfile
from pathlib import Path

from cmd_daemon.store import Store
from services.postgres import QUICK, Postgres, packaged_bin

TEMPLATE = "template_cmd"
USER = "cmd"
WALLED = "walled"
"""A user who is asked for a password, and owns nothing."""


class Server:
    """A PostgreSQL server with a database whose schema is made, of which others are copies."""

    def __init__(self, settings: tuple[str, ...] = QUICK) -> None:
        self._logs = Path(tempfile.mkdtemp(prefix="postgres-log-"))
        self.postgres = Postgres(self._logs / "log", packaged_bin(), USER, "postgres", settings)
        self._names = itertools.count(1)
        self._templated = False

    def start(self) -> None:
        """Make it and start it."""
        self.postgres.make()
        self.postgres.ask_for_passwords(WALLED)

    def url(self, database: str, user: str = USER, port: int = 0) -> str:
        """The URL of one of its databases, for the daemon's configuration."""
        return f"postgresql+asyncpg://{user}@127.0.0.1:{port or self.postgres.port}/{database}"

    def empty(self) -> str:
        """A new database without anything in it; its URL."""
        return self._made("template0")

    def fresh(self) -> str:
        """A new database with the schema in it; its URL."""
        if not self._templated:
            self.postgres.sql(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            asyncio.run(_make_schema(self.url(TEMPLATE)))
            self._templated = True
        return self._made(TEMPLATE)

    def _made(self, template: str) -> str:
        name = f"test_{next(self._names)}"
        self.postgres.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is connected."""
        self.postgres.sql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def stop(self) -> None:
        """End it at once, its sessions too; the data stays."""
        self.postgres.process.stop(signal.SIGINT)

    def start_again(self) -> None:
        """Start it on the same port and data."""
        self.postgres.process.start()

    def remove(self) -> None:
        """Stop it and delete everything."""
        self.postgres.remove()
        shutil.rmtree(self._logs, ignore_errors=True)


async def _make_schema(url: str) -> None:
    store = await Store.open(url, clock=lambda: 0)
    await store.close()
