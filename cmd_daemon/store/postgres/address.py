"""Where a PostgreSQL database is, as whom to go there, and how to connect. No password is ever kept
in a URL or shown: it is read from where the configuration points to, at each connect."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from cmd_daemon.store.errors import BadUrl
from cmd_daemon.store.postgres.faults import FAULTS, translate

SCHEME = "postgresql+asyncpg"
CONNECT_S = 5.0
"""Seconds to connect and be let in."""

NAME = "cmd-daemon"
OPTIONS = ("host", "port", "ssl", "passfile")


@dataclass(frozen=True, slots=True)
class Address:
    """A database. Fields that are None follow PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD,
    PGPASSFILE and PGSSLMODE, as libpq does (postgresql.org/docs, "Environment Variables")."""

    host: str | None
    port: int | None
    user: str | None
    database: str | None
    ssl: str | None
    passfile: str | None
    password_file: Path | None

    def __str__(self) -> str:
        """For people: host, port and database."""
        host = self.host or os.environ.get("PGHOST", "localhost")
        port = self.port or os.environ.get("PGPORT", "5432")
        return f"{host}:{port}/{self.database or os.environ.get('PGDATABASE', '')}"

    @property
    def secret(self) -> str:
        """Where the password comes from, in words."""
        if self.password_file is not None:
            return f"from {self.password_file}"
        if "PGPASSWORD" in os.environ:
            return "from the environment (PGPASSWORD)"
        return f"from {self.passfile or os.environ.get('PGPASSFILE', '~/.pgpass')}, if asked for"

    def password(self) -> str | None:
        """The password, read anew: it may have been changed. Raises BadUrl if its file cannot be read."""
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadUrl(
                f"the password of the database {self} cannot be read from {self.password_file}: "
                f"{getattr(error, 'strerror', None) or 'it is not text'}"
            ) from error

    async def connect(self, settings: Mapping[str, str], command_s: float) -> Any:
        """A new connection, an `asyncpg.Connection`. `command_s` is how long one statement may take.

        Raises a StoreError.
        """
        shown = {"application_name": f"{NAME}:{socket.gethostname()[:40]}:{os.getpid()}"}
        given: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "database": self.database,
            "password": self.password(),
            "passfile": self.passfile,
            "ssl": self.ssl,
            "timeout": CONNECT_S,
            "command_timeout": command_s,
            "server_settings": {**shown, **settings},
        }
        try:
            return await asyncpg.connect(**given)
        except (asyncpg.exceptions.ClientConfigurationError, ValueError) as error:
            raise BadUrl(f"the database {self} cannot be used: {error}") from error
        except FAULTS as error:
            raise translate(error, str(self)) from error


def address_of(url: str, password_file: Path | None = None) -> Address:
    """The address in a URL `postgresql+asyncpg://user@host:port/database`. Raises BadUrl, without the
    URL's words if it holds a password."""
    try:
        parsed: URL = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise BadUrl(
            f"the database URL cannot be read; write {SCHEME}://user@host/database"
        ) from error
    if parsed.password is not None:
        raise BadUrl(
            "the database URL holds a password, which would be seen by everybody who sees the "
            "configuration. Put it into a file of its own and name that as database_password_file."
        )
    unknown = sorted(set(parsed.query) - set(OPTIONS))
    if unknown:
        raise BadUrl(f"the database URL has the option {unknown[0]!r}; known: {', '.join(OPTIONS)}")
    given = {name: value for name, value in parsed.query.items() if isinstance(value, str)}
    port = given.get("port", "")
    if port and not port.isdecimal():
        raise BadUrl(f"the database URL has the port {port!r}, which is no number")
    return Address(
        host=parsed.host or given.get("host"),
        port=parsed.port or (int(port) if port else None),
        user=parsed.username,
        database=parsed.database or None,
        ssl=given.get("ssl"),
        passfile=given.get("passfile"),
        password_file=password_file,
    )
