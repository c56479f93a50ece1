"""A real `cmd-daemon run` that serves a TCP port, and `cm` of people who reach it over TLS."""

import asyncio
import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from daemon_process import DaemonProcess, until
from identity_house import ROLES, Ports
from identity_issuer import AUDIENCE, CLIENT, Issuer

from cm_client import Client
from cmd_daemon.store import Store

SECTIONS = """
[listen.tokens]
address = "127.0.0.1:{ports.tokens}"
certificate = "{ports.certificate}"
key = "{ports.key}"
clients = "tokens"

[listen.certificates]
address = "127.0.0.1:{ports.certificates}"
certificate = "{ports.certificate}"
key = "{ports.key}"
clients = "certificates"
client_ca = "{ports.authority.file}"

[identity.oidc]
issuer = "{issuer.url}"
audience = "{audience}"
client_id = "{client}"
scope = "openid"
roles = {{ viewer = "{roles[viewer]}", pilot = "{roles[pilot]}", admin = "{roles[admin]}" }}

[identity.certificates.roles]
admin = "CN=ops"
"""


@pytest.fixture
def daemon(tmp_path: Path, ports: Ports, issuer: Issuer) -> Iterator[DaemonProcess]:
    """A daemon that serves both ports, and has the campaign `crash` as a draft."""
    made = DaemonProcess(tmp_path)
    more = SECTIONS.format(
        ports=ports, issuer=issuer, audience=AUDIENCE, client=CLIENT, roles=ROLES
    )
    made.config.write_text(made.config.read_text() + more)
    try:
        made.start()
        made.apply(2, start=False)
        yield made
    finally:
        made.end()


class Person:
    """Somebody with a home of their own at another machine, and `cm`."""

    def __init__(self, home: Path, ports: Ports) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CM_")},
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "CM_ADDRESS": f"127.0.0.1:{ports.tokens}",
            "CM_CA": str(ports.authority.file),
            "CM_ACTOR": "somebody-else",
        }
        self.token = home / "config" / "cmd-daemon" / "token"

    def cm(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [sys.executable, "-m", "cm_cli", *arguments],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def test_a_pilot_logs_in_works_and_is_audited(
    daemon: DaemonProcess, issuer: Issuer, ports: Ports, tmp_path: Path
) -> None:
    ann = Person(tmp_path / "ann", ports)
    stranger = ann.cm("list")
    assert stranger.returncode == 1
    assert "cm login" in stranger.stderr

    login = ann.cm("login")
    assert login.returncode == 0, login.stderr
    assert "ABCD-EFGH" in login.stderr
    assert stat.S_IMODE(ann.token.stat().st_mode) == 0o600
    assert ann.token.read_text().strip() == issuer.issued[0]
    assert stat.S_IMODE((ann.token.parent / "token.renew").stat().st_mode) == 0o600
    assert issuer.asked[0][1] == {"scope": "openid", "client_id": CLIENT, "audience": AUDIENCE}

    who = json.loads(ann.cm("whoami", "--json").stdout)
    assert (who["who"], who["proof"], who["role"]) == ("ann", "token", "pilot")
    told = ann.cm("whoami").stdout
    assert "ann" in told
    assert "pilot" in told

    started = ann.cm("start", "crash", "--reason", "off we go")
    assert started.returncode == 0, started.stderr
    until(lambda: daemon.state() == "ACCEPTED", "the campaign")
    denied = ann.cm("drain", "USDF", "--reason", "mine")
    assert denied.returncode == 1
    assert "ann has the role pilot; DrainFacility needs the role admin" in denied.stderr
    assert "cm whoami" in denied.stderr
    assert "needs the role admin" in ann.cm("audit").stderr

    boss = {"CM_TOKEN": issuer.token("boss", ROLES["admin"])}
    assert json.loads(ann.cm("whoami", "--json", **boss).stdout)["who"] == "boss"
    audit = json.loads(ann.cm("audit", "--json", "--who", "ann", **boss).stdout)
    calls = [(e["method"].partition("/")[2], e["result"], e["reason"]) for e in audit]
    assert ("StartCampaign", "OK", "off we go") in calls
    assert ("DrainFacility", "MISSING_ROLE", "mine") in calls
    assert "DrainFacility" in ann.cm("audit", "facilities/USDF", "--since", "1h", **boss).stdout
    assert "StartCampaign" in ann.cm("audit", "crash", **boss).stdout


def test_logging_in_again_needs_no_browser(
    daemon: DaemonProcess, issuer: Issuer, ports: Ports, tmp_path: Path
) -> None:
    ann = Person(tmp_path / "ann", ports)
    assert ann.cm("login").returncode == 0
    first = ann.token.read_text()
    ann.token.write_text(issuer.token("ann", exp=int(time.time()) - 100))
    over = ann.cm("list")
    assert over.returncode == 1
    assert "The token is over" in over.stderr
    again = ann.cm("login")
    assert again.returncode == 0, again.stderr
    assert "Open" not in again.stderr
    assert ann.token.read_text() != first
    assert ann.cm("list").returncode == 0
    # A token file of another program's, and one that is not there.
    elsewhere = tmp_path / "bearer"
    elsewhere.write_text(issuer.token("robot", ROLES["viewer"]) + "\n")
    robot = ann.cm("whoami", "--json", CM_TOKEN_FILE=str(elsewhere))
    assert json.loads(robot.stdout)["who"] == "robot"
    assert "cm login" in ann.cm("--token-file", "/no/such", "list").stderr


def test_a_login_that_is_refused_says_why(
    daemon: DaemonProcess, issuer: Issuer, ports: Ports, tmp_path: Path
) -> None:
    ann = Person(tmp_path / "ann", ports)
    issuer.refused = "access_denied"
    login = ann.cm("login")
    assert login.returncode == 1
    assert "access_denied: said so" in login.stderr
    assert not ann.token.exists()
    plain = ann.cm("login", "--issuer", "http://iam.example/", "--client-id", "x")
    assert "no https URL" in plain.stderr
    issuer.down = True
    assert "cannot be asked" in ann.cm("login", "--issuer", issuer.url, "--client-id", "x").stderr


def test_certificates_and_the_wrong_authority(
    daemon: DaemonProcess, ports: Ports, tmp_path: Path
) -> None:
    ops = Person(tmp_path / "ops", ports)
    ops.environment["CM_ADDRESS"] = f"127.0.0.1:{ports.certificates}"
    certificate, key = ports.authority.issue("ops")
    given = ("--certificate", str(certificate), "--key", str(key))
    told = ops.cm(*given, "whoami", "--json")
    assert json.loads(told.stdout)["who"] == "CN=ops"
    assert "No login is needed" in ops.cm(*given, "login").stderr
    assert "go together" in ops.cm("--certificate", str(certificate), "list").stderr
    stranger = Ports(tmp_path / "stranger")
    wrong = ops.cm("--timeout", "3", *given, "list", CM_CA=str(stranger.authority.file))
    assert wrong.returncode == 6
    assert "certificate" in wrong.stderr.lower()


@pytest.mark.parametrize("point", ["before-commit", "after-commit"])
def test_a_killed_daemon_has_the_change_and_its_audit_or_neither(
    tmp_path: Path, point: str
) -> None:
    daemon = DaemonProcess(tmp_path)
    try:
        daemon.start()
        daemon.apply(2, start=False)
        assert daemon.stop() == 0
        daemon.start(f"{point}:1")
        with contextlib.suppress(Exception), Client(daemon.target, actor="ann") as client:
            client.within(5.0).start_campaign("campaigns/crash", request_id="mine")
        until(daemon.dead, "its death")

        async def read() -> tuple[int, int]:
            store = await Store.open(daemon.database, clock=lambda: 0, migrate=False)
            try:
                events = [e for e in await store.events() if e.request_id == "mine"]
                rows = [row for _, row in await store.audits() if row.request_id == "mine"]
                return len({e.cause for e in events}), len(rows)
            finally:
                await store.close()

        done = 1 if point == "after-commit" else 0
        assert asyncio.run(read()) == (done, done)
    finally:
        daemon.end()


def test_the_dashboard_shows_and_offers_what_its_role_may(
    daemon: DaemonProcess, issuer: Issuer, ports: Ports, tmp_path: Path
) -> None:
    kept = tmp_path / "token"
    pages = {}
    for role in ("viewer", "admin"):
        kept.write_text(issuer.token("ann", ROLES[role]))
        person = Person(tmp_path / role, ports)
        web = subprocess.Popen(
            [sys.executable, "-m", "cm_cli", "--token-file", str(kept), "web", "--port", "0"],
            env=person.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert web.stdout is not None
            address = re.search(r"http://\S+", web.stdout.readline())
            assert address is not None
            with httpx.Client(follow_redirects=True, timeout=60) as browser:
                browser.get(address[0]).raise_for_status()
                base = address[0].partition("/?")[0]

                def shown(browser: httpx.Client = browser, base: str = base) -> str:
                    answer = browser.get(f"{base}/facilities/USDF")
                    return answer.text if answer.is_success else ""

                pages[role] = until(shown, "the page")
        finally:
            web.terminate()
            web.wait(60)
    assert "ann with the role viewer" in pages["viewer"]
    assert "/act/kill" not in pages["viewer"]
    assert "ann with the role admin" in pages["admin"]
    assert "/act/kill" in pages["admin"]
