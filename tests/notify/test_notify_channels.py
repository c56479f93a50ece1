"""Channels to people, over real HTTP and SMTP on loopback."""

import email
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email import policy
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from hooked import Hooked
from pydantic import TypeAdapter, ValidationError
from receivers import Mailbox, mail_server

from cmd_daemon.hooks import Notice
from cmd_daemon.hooks.manager import PluginError, Plugins
from cmd_notify.notifier import ChannelNotifier
from cmd_notify.plugin import NotifyPlugin
from cmd_notify.sending import SIGNATURE, TIMESTAMP, NotDelivered, signature
from cmd_notify.settings import AnyChannel

DASHBOARD = "https://cm.example.org/cmd"
HELD = Notice(
    "warning",
    "campaigns/DRP1/steps/coadd",
    "412 groups of DRP1/coadd are held: <script>alert(1)</script> & @channel",
    "cm groups DRP1/coadd --state HELD",
)
DOWN = Notice("urgent", "facilities/FrDF", "FrDF takes no new work: check ssh fails")
DONE = Notice("info", "campaigns/DRP1", "DRP1 is ACCEPTED", "cm why DRP1")


@pytest.fixture
def hooked() -> Iterator[Hooked]:
    """A receiver of webhooks."""
    with Hooked() as server:
        yield server


def file_with(directory: Path, text: str) -> Path:
    """A file with a secret."""
    path = directory / f"secret-{abs(hash(text))}"
    path.write_text(f"{text}\n")
    return path


def channel(now: datetime | None = None, **fields: Any) -> ChannelNotifier:
    """The notifier of a channel with these settings; `now` is what its clock shows."""
    settings: AnyChannel = TypeAdapter(AnyChannel).validate_python(fields)
    at = (now or datetime(2026, 11, 29, 12, tzinfo=UTC)).timestamp()
    return ChannelNotifier("notify.test", settings, DASHBOARD, lambda: at)


@pytest.mark.parametrize("kind", ["slack", "mattermost"])
async def test_a_chat_gets_one_message_for_all(tmp_path: Path, hooked: Hooked, kind: str) -> None:
    address = file_with(tmp_path, f"{hooked.url}/services/T0/B0/key")
    assert await channel(kind=kind, url_file=address).notify([HELD, DOWN, DONE]) == []
    ((path, headers, body),) = hooked.taken
    assert (path, headers["Content-Type"]) == ("/services/T0/B0/key", "application/json")
    text = json.loads(body)["text"]
    assert "cm groups DRP1/coadd --state HELD" in text
    assert f"{DASHBOARD}/campaigns/DRP1/steps/coadd" in text
    assert "FrDF takes no new work" in text
    assert "ACCEPTED" not in text, "info is below the channel's severity"
    assert "<script>" not in text
    assert "@channel" not in text, "a reason could call everybody"


async def test_a_webhook_is_signed(tmp_path: Path, hooked: Hooked) -> None:
    key = file_with(tmp_path, "shared-key")
    await channel(kind="webhook", url=f"{hooked.url}/cmd", key_file=key).notify([HELD])
    ((_, headers, body),) = hooked.taken
    assert headers[SIGNATURE] == signature("shared-key", headers[TIMESTAMP], body)
    assert headers[SIGNATURE] != signature("shared-key", headers[TIMESTAMP], body + b" ")
    assert headers[SIGNATURE] != signature("shared-key", "0", body)
    (told,) = json.loads(body)["notices"]
    assert told == {
        "severity": "warning",
        "entity": HELD.entity,
        "text": HELD.text,
        "command": HELD.command,
        "link": f"{DASHBOARD}/{HELD.entity}",
    }


async def test_an_error_names_the_place_and_no_secret(tmp_path: Path, hooked: Hooked) -> None:
    hooked.status = 500
    address = file_with(tmp_path, f"{hooked.url}/very-secret")
    with pytest.raises(NotDelivered, match="answered 500") as caught:
        await channel(kind="slack", url_file=address).notify([HELD])
    assert "very-secret" not in str(caught.value)
    address.write_text("http://127.0.0.1:1/very-secret")
    with pytest.raises(NotDelivered, match="cannot be reached") as caught:
        await channel(kind="slack", url_file=address).notify([HELD])
    assert "very-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(NotDelivered, match="missing"):
        await channel(kind="slack", url_file=tmp_path / "missing").notify([HELD])


async def test_campaigns_are_chosen_by_pattern_and_facilities_always(
    tmp_path: Path, hooked: Hooked
) -> None:
    address = file_with(tmp_path, hooked.url)
    other = Notice("warning", "campaigns/TEST/steps/one", "TEST/one waits to be signed")
    picky = channel(kind="slack", url_file=address, campaigns=["DRP*"])
    assert await picky.notify([other]) == []
    assert hooked.taken == []
    await picky.notify([other, HELD, DOWN])
    text = json.loads(hooked.taken[0][2])["text"]
    assert "TEST" not in text
    assert "FrDF" in text


@pytest.mark.parametrize(
    ("hour", "zone", "quiet"),
    [
        (23, "UTC", True),
        (6, "UTC", True),
        (7, "UTC", False),
        (12, "UTC", False),
        (22, "UTC", True),
        (7, "America/Los_Angeles", True),  # 23 h of the day before
        (20, "America/Los_Angeles", False),
    ],
)
async def test_quiet_hours_keep_all_but_the_urgent(
    tmp_path: Path, hooked: Hooked, hour: int, zone: str, quiet: bool
) -> None:
    address = file_with(tmp_path, hooked.url)
    now = datetime(2026, 11, 29, hour, tzinfo=UTC)
    notifier = channel(now, kind="slack", url_file=address, quiet="22:00-07:00", zone=zone)
    assert await notifier.notify([HELD, DOWN]) == ([HELD] if quiet else [])
    text = json.loads(hooked.taken[0][2])["text"]
    assert "FrDF" in text
    assert ("412 groups" in text) is not quiet


async def test_quiet_hours_follow_daylight_saving(tmp_path: Path, hooked: Hooked) -> None:
    address = file_with(tmp_path, hooked.url)
    fields = {"kind": "slack", "url_file": address, "quiet": "22:00-07:00", "zone": "Europe/Paris"}
    winter = channel(datetime(2026, 10, 25, 5, 30, tzinfo=UTC), **fields)  # 6:30, clocks went back
    summer = channel(datetime(2026, 10, 24, 5, 30, tzinfo=UTC), **fields)  # 7:30
    assert await winter.notify([HELD]) == [HELD]
    assert await summer.notify([HELD]) == []


async def test_mail_goes_over_starttls_with_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.issue("mail"))
    box = Mailbox()
    with mail_server(box, tls) as port:
        settings = {
            "kind": "mail",
            "host": "127.0.0.1",
            "port": port,
            "username": "pilot",
            "password_file": file_with(tmp_path, "secret"),
            "sender": "cmd@example.org",
            "to": ["a@example.org", "b@example.org"],
        }
        with pytest.raises(NotDelivered, match="certificate"):
            await channel(**settings).notify([HELD])
        assert box.logins == [], "the password must not go to somebody nobody vouches for"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        await channel(**settings).notify([HELD, DOWN])
        wrong = {**settings, "password_file": file_with(tmp_path, "wrong-word")}
        with pytest.raises(NotDelivered, match="password of pilot") as caught:
            await channel(**wrong).notify([HELD])
        assert "wrong-word" not in str(caught.value)
    (mail,) = box.mails
    assert mail.rcpt_tos == ["a@example.org", "b@example.org"]
    message = email.message_from_bytes(mail.content, policy=policy.default)
    assert message["Subject"] == "[cmd] 2 notices, 1 urgent"
    text = message.get_content()
    assert "[urgent] FrDF takes no new work" in text
    assert "cm groups DRP1/coadd --state HELD" in text


async def test_a_reason_cannot_add_headers_to_a_mail() -> None:
    box = Mailbox()
    evil = Notice("urgent", "campaigns/X", "X is FAILED: a\r\nBcc: everybody@example.org\r\n\r\nhi")
    with mail_server(box) as port:
        settings = {"kind": "mail", "host": "127.0.0.1", "port": port, "encryption": "none"}
        await channel(**settings, sender="cmd@example.org", to=["a@example.org"]).notify([evil])
    message = email.message_from_bytes(box.mails[0].content, policy=policy.default)
    assert message["Bcc"] is None
    assert box.mails[0].rcpt_tos == ["a@example.org"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "pigeon"}, "kind"),
        ({"kind": "slack"}, "url_file"),
        ({"kind": "slack", "url_file": "/s", "quiet": "late"}, "22:00-07:00"),
        ({"kind": "slack", "url_file": "/s", "zone": "Mars/Olympus"}, "time zone"),
        ({"kind": "webhook", "url": "ftp://x", "key_file": "/k"}, "url"),
        ({"kind": "mail", "host": "h", "sender": "s", "to": []}, "to"),
        (
            {"kind": "mail", "host": "h", "sender": "s", "to": ["t"], "username": "u"},
            "password_file",
        ),
        (
            {
                "kind": "mail",
                "host": "h",
                "sender": "s",
                "to": ["t"],
                "username": "u",
                "password_file": "/p",
                "encryption": "none",
            },
            "encryption",
        ),
    ],
)
def test_a_wrong_channel_is_refused_with_its_key(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        channel(**fields)


def test_the_plugin_brings_a_notifier_for_each_channel() -> None:
    plugins = Plugins()
    plugins.add("notify", NotifyPlugin())
    section = {"channel": {"pilots": {"kind": "slack", "url_file": "/s"}}}
    plugins.configure({"notify": section})
    assert list(plugins.notifiers) == ["notify.pilots"]
    assert plugins.infos[0].brings == ["notifier notify.pilots"]


def test_the_daemon_refuses_a_wrong_channel() -> None:
    plugins = Plugins()
    plugins.add("notify", NotifyPlugin())
    with pytest.raises(PluginError, match=r"plugin\.notify.*kind|kind"):
        plugins.configure({"notify": {"channel": {"pilots": {"kind": "pigeon"}}}})
