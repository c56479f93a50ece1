"""Secrets are known by reference only: what a real daemon says and keeps is searched for planted ones.

Every outside system here refuses, and tells back all that it was sent: path, headers and body.
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, until
from google.protobuf.message import Message
from identity_house import Ports
from identity_issuer import AUDIENCE, CLIENT, Issuer
from services.databases import Server
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from test_identity_process import ROLES, SECTIONS, Person

from cm_client import Client, CmError

PLUGINS = """\
plugins = ["local", "facility", "fakes", "notify", "sinks", "rucio_butler"]
log_level = "debug"
metrics = "127.0.0.1:{metrics}"
"""

FACILITY = """
[facility.FrDF]
slots = 4
butlers = {{ demo = "/none" }}
stacks = {{ w1 = "/usr/bin/python3" }}
drivers = {{ process = "fake", script = "fake", transfer = "rucio", collect = "null" }}
agent = "rucio"

[facility.FrDF.settings.rucio]
server = "{echo}"
account = "pilot"
username = "pilot"
password_file = "{secrets}/rucio-password"
rse = "FRDF"
scope = "raw"
timeout_s = 5.0
patience_s = 1.0

[plugin.notify.channel.chat]
kind = "slack"
severity = "info"
url_file = "{secrets}/chat-address"

[plugin.notify.channel.mail]
kind = "mail"
severity = "info"
host = "127.0.0.1"
port = {closed}
username = "cmd"
password_file = "{secrets}/mail-password"
sender = "cmd@example.org"
to = ["pilot@example.org"]

[plugin.notify.channel.hook]
kind = "webhook"
severity = "info"
url = "{echo}/hook"
key_file = "{secrets}/hook-key"

[plugin.sinks.sink.lines]
kind = "loki"
url = "{echo}"
token_file = "{secrets}/sink-token"

[plugin.sinks.sink.index]
kind = "opensearch"
url = "{echo}"
username = "cmd"
password_file = "{secrets}/sink-password"
"""

NAMES = ("rucio-password", "mail-password", "hook-key", "sink-token", "sink-password", "database")


class _Echo(BaseHTTPRequestHandler):
    asked: list[str]

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size).decode("utf-8", "replace")[:500]
        self.asked.append(self.path)
        told = f"no: {self.path} {dict(self.headers)} {body}".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def echo() -> Iterator[tuple[str, list[str]]]:
    """An outside system that refuses and tells back everything; what it was asked."""
    asked: list[str] = []
    handler = type("Handler", (_Echo,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _planted(folder: Path, echo: str) -> dict[str, str]:
    """The files of the secrets; each secret by its name."""
    folder.mkdir()
    secrets = {name: f"planted-{name}-{os.urandom(6).hex()}" for name in NAMES}
    for name, secret in secrets.items():
        (folder / name).write_text(secret + "\n")
    secrets["chat-address"] = f"planted-chat-{os.urandom(6).hex()}"
    (folder / "chat-address").write_text(f"{echo}/services/{secrets['chat-address']}\n")
    return secrets


def _everything(client: Client, into: list[str]) -> None:
    """What the API tells of everything there is."""

    def told(*messages: Message) -> None:
        into.extend(str(message) for message in messages)

    told(client.get_daemon(), client.list_plugins(), client.list_facilities(), client.get_caller())
    told(*client.events(), *client.audit(), *client.campaigns(), *client.groups("campaigns/crash"))
    told(*client.jobs("campaigns/crash"), client.get_campaign_file("campaigns/crash"))
    for name in ("campaigns/crash", "campaigns/crash/steps/one", "facilities/FrDF"):
        try:
            told(client.explain_entity(name))
        except CmError as error:
            into.append(str(error))


async def _rows(database: str, password: str) -> str:
    """All that the database holds, as text."""
    engine = create_async_engine(database.replace("@", f":{password}@", 1))
    async with engine.connect() as connection:
        ask = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        tables = [row[0] for row in await connection.execute(text(ask))]
        found = [
            str(row) for t in tables for row in await connection.execute(text(f"SELECT * FROM {t}"))
        ]
    await engine.dispose()
    return "\n".join(found)


def test_planted_secrets_are_nowhere(
    tmp_path: Path,
    own_postgres: Server,
    issuer: Issuer,
    ports: Ports,
    echo: tuple[str, list[str]],
) -> None:
    from services.processes import free_port

    url, asked = echo
    folder = tmp_path / "secrets"
    secrets = _planted(folder, url)
    sql = own_postgres.postgres.sql
    sql(f"CREATE ROLE planted LOGIN SUPERUSER PASSWORD '{secrets['database']}'")
    own_postgres.postgres.ask_for_passwords("planted")
    database = own_postgres.url(own_postgres.fresh().rpartition("/")[2], "planted")
    daemon = DaemonProcess(tmp_path, database=database)
    metrics = free_port()
    config = daemon.config.read_text().replace(
        'plugins = ["local", "facility", "fakes"]\n',
        PLUGINS.format(metrics=metrics) + f'database_password_file = "{folder}/database"\n',
    )
    config += FACILITY.format(echo=url, secrets=folder, closed=free_port())
    config += SECTIONS.format(
        ports=ports, issuer=issuer, audience=AUDIENCE, client=CLIENT, roles=ROLES
    )
    daemon.config.write_text(config)
    said: list[str] = []
    try:
        daemon.start()
        assert not daemon.dead(), daemon.log()[-3000:]
        ann = Person(tmp_path / "ann", ports)
        said += [(done := ann.cm("login")).stdout, done.stderr]
        secrets["token"] = issuer.issued[0].split(".")[2]
        secrets["refresh token"] = "the-refresh-token"
        secrets["device code"] = "the-device-code"
        over = issuer.token("ann", exp=1)
        forged = issuer.token("ann")[:-8] + "AAAAAAAA"
        secrets["old token"], secrets["forged token"] = over.split(".")[2], forged.split(".")[2]
        for token in ("", over, forged):
            done = ann.cm("whoami", **({"CM_TOKEN": token} if token else {}))
            said += [done.stdout, done.stderr]
        daemon.apply(2, script="exit 3\\n")
        until(
            lambda: (
                {"/loki/api/v1/push", "/hook"} <= set(asked)
                and any("_bulk" in path for path in asked)
                and any("services/" in path for path in asked)
                and any("auth" in path for path in asked)
            ),
            f"all that is asked outside, not only {set(asked)}",
        )
        until(lambda: "mail" in daemon.log(), "the mail that cannot be sent")
        with daemon.client() as client:
            until(
                lambda: "CannotAuthenticate" in str(client.list_facilities()), "the words of Rucio"
            )
            client.drain_facility("facilities/USDF", reason="stop")
            _everything(client, said)
        import httpx

        said.append(httpx.get(f"http://127.0.0.1:{metrics}/metrics").text)
        assert daemon.stop() == 0
        said.append(daemon.log())
        said.append(asyncio.run(_rows(database, secrets["database"])))
        kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        said += [path.read_bytes().decode("utf-8", "replace") for path in kept]
    finally:
        daemon.end()
    assert len("".join(said)) > 20_000
    leaks = [
        f"the {name} is told: ...{told[max(0, at - 400) : at + 60]}"
        for name, secret in secrets.items()
        for told in said
        if (at := told.find(secret)) >= 0
    ]
    assert not leaks, "\n\n".join(leaks)
