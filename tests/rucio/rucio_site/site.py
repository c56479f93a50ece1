"""A whole Rucio: database, server, daemons, transfer service, broker and four storage elements."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rucio.client import Client
from services.postgres import Postgres
from services.processes import SiteError, free_port

from rucio_site import settings
from rucio_site.broker import Broker
from rucio_site.daemons import Daemons
from rucio_site.packages import postgres_bin
from rucio_site.rses import DISKS, SCOPE, TAPES, add_rses, add_scope
from rucio_site.server import Server, environment
from rucio_site.transfers import Transfers

ROOT = Path(__file__).resolve().parents[3]
VENV = Path(os.environ.get("CMD_RUCIO_VENV", ROOT / ".venv-rucio"))
TEMPLATES = ROOT / "build" / "rucio"


class Site:
    """Starts and stops everything; each part may be stopped, started and troubled by itself.

    `home` takes configuration and logs. `roots` names the directory of an RSE, else it is
    `home`/storage/NAME; a directory of a facility may be given. The daemons rest until
    `daemons.round()` or `daemons.pace(S)`. Use it as a (synchronous or asynchronous) context.
    """

    def __init__(self, home: Path, roots: Mapping[str, Path] | None = None) -> None:
        if not (VENV / "bin" / "gunicorn").exists():
            raise SiteError(f"{VENV} holds no Rucio: run `make rucio`, or set CMD_RUCIO_VENV")
        given = dict(roots or {})
        self.home = home.resolve()
        self.roots = {
            rse: given.pop(rse, self.home / "storage" / rse).resolve() for rse in (*DISKS, *TAPES)
        }
        if given:
            raise SiteError(f"no such RSEs: {sorted(given)}; there are {sorted(self.roots)}")
        for directory in (self.home / "etc", self.home / "log", self.home / "token"):
            directory.mkdir(parents=True, exist_ok=True)
        for directory in self.roots.values():
            directory.mkdir(parents=True, exist_ok=True)
        log = self.home / "log"
        binaries = postgres_bin()
        self.postgres_version = binaries.parent.name
        self.postgres = Postgres(log / "postgres.log", binaries, "rucio", "rucio")
        self.database = f"postgresql+psycopg://{self.postgres.address}"
        self.transfers = Transfers(log / "transfers.log")
        self.broker = Broker(self.home / "broker", log / "broker.log")
        port = free_port()
        self.config = settings.write(
            self.home, VENV, self.database, f"http://127.0.0.1:{port}", self.broker.port
        )
        env = environment(self.home, self.config)
        self.server = Server(port, VENV, env, log / "server.log")
        self.daemons = Daemons(VENV, env, log / "daemons.log")

    @property
    def addresses(self) -> dict[str, Any]:
        """What a client of the site needs to know."""
        return {
            "url": self.server.url,
            "account": settings.ACCOUNT,
            "username": settings.USERNAME,
            "password": settings.PASSWORD,
            "config": str(self.config),
            "scope": SCOPE,
            "roots": {rse: str(root) for rse, root in self.roots.items()},
            "stomp": {
                "host": "127.0.0.1",
                "port": self.broker.port,
                "destination": settings.TOPIC,
                "username": settings.USERNAME,
                "password": settings.PASSWORD,
            },
            "transfers": self.transfers.url,
            "daemons": self.daemons.url,
            "database": self.database,
        }

    def start(self) -> None:
        """Start everything from nothing or, faster, from the template of an earlier start."""
        try:
            self.transfers.process.spawn()
            self.broker.process.spawn()
            self._database()
            self.server.process.spawn()
            self.daemons.process.spawn()
            for part in (self.transfers, self.broker, self.server, self.daemons):
                part.process.wait()
            self.daemons.off()
            client = self.client()
            add_rses(client, self.roots, self.transfers.url)
            add_scope(client, SCOPE)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything and throw the database away; logs and files of the RSEs stay."""
        for part in (self.daemons, self.server, self.broker, self.transfers):
            with contextlib.suppress(ProcessLookupError):
                part.process.kill()
        self.postgres.remove()

    def client(self, timeout_s: float = 60.0) -> Client:
        """A new client of the account; one for each thread."""
        # Else its token would lie where the user's clients of all servers have theirs.
        os.environ.setdefault("RUCIO_CONFIG", str(self.config))
        return Client(
            rucio_host=self.server.url,
            auth_host=self.server.url,
            account=settings.ACCOUNT,
            auth_type="userpass",
            creds={"username": settings.USERNAME, "password": settings.PASSWORD},
            timeout=timeout_s,
        )

    def path(self, rse: str, scope: str, name: str) -> Path:
        """Where a file of an RSE lies."""
        return self.roots[rse] / scope / name

    def expire_tokens(self) -> None:
        """Make every token that the server has given out invalid; it is started anew for that."""
        self.postgres.sql(f"DELETE FROM {settings.SCHEMA}.tokens")
        # Its workers remember valid tokens for 15 minutes.
        self.server.process.kill()
        self.server.process.start()

    def sweep(self) -> None:
        """End what a test has left: faults, pace, rules, queued transfers, undelivered messages.

        Files, datasets and replicas stay; their names can never be used again.
        """
        self.transfers.clear()
        self.daemons.pause()
        self.daemons.off()
        schema = settings.SCHEMA
        tables = ", ".join(f"{schema}.{name}" for name in ("requests", "sources", "messages"))
        self.postgres.sql(f"TRUNCATE {tables} CASCADE")
        self.postgres.sql(f"UPDATE {schema}.rules SET expires_at = '2000-01-01', locked = FALSE")
        self.daemons.round("cleaner")

    def log(self) -> str:
        """The last lines of all logs, for the report of a failed test."""
        parts = []
        for log in sorted((self.home / "log").glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-30:]
            parts.append("\n".join([f"==> {log.name}", *lines]))
        return "\n".join(parts)

    def _database(self) -> None:
        requirements = (ROOT / "requirements-rucio.txt").read_text()
        mark = settings.fingerprint(requirements, self.postgres_version)
        template = TEMPLATES / f"database-{mark}.tar"
        if template.exists():
            self.postgres.restore(template)
        else:
            self.postgres.make()
            self.server.bootstrap(self.home / "log" / "bootstrap.log")
            self.postgres.save(template)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)
