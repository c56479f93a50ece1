"""Deliveries: one message for a set of notices, through one channel."""

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from email.message import EmailMessage
from pathlib import Path

import httpx

from cmd_daemon.hooks import Notice
from cmd_notify.settings import ChatChannel, MailChannel, WebhookChannel, secret
from cmd_notify.words import chat, link, plain, subject

SIGNATURE = "X-Cmd-Signature"
"""Header of a signed webhook: `sha256=` and the HMAC of `TIMESTAMP.BODY` in hexadecimal."""

TIMESTAMP = "X-Cmd-Timestamp"
"""Header with the seconds since the epoch at which it was signed."""


class NotDelivered(Exception):
    """A message did not go through; the words name the channel's place and hold no secret."""


def signature(key: str, timestamp: str, body: bytes) -> str:
    """What `SIGNATURE` must be: a receiver computes the same and compares."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()


async def to_chat(channel: ChatChannel, notices: Sequence[Notice], dashboard: str) -> None:
    """Post one message to an incoming webhook. Raises NotDelivered."""
    address = _secret_of(channel.url_file)
    body = json.dumps({"text": chat(notices, dashboard)}).encode()
    await _post(address, f"the address in {channel.url_file}", body, {}, channel.timeout_s)


async def to_webhook(
    channel: WebhookChannel, notices: Sequence[Notice], dashboard: str, now_s: int
) -> None:
    """Post the notices as JSON, signed. Raises NotDelivered."""
    key = _secret_of(channel.key_file)
    told = [{**asdict(each), "link": link(dashboard, each)} for each in notices]
    body = json.dumps({"notices": told}).encode()
    headers = {TIMESTAMP: str(now_s), SIGNATURE: signature(key, str(now_s), body)}
    await _post(channel.url, channel.url, body, headers, channel.timeout_s)


async def _post(
    address: str, shown: str, body: bytes, headers: Mapping[str, str], timeout_s: float
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    try:
        async with httpx.AsyncClient(timeout=timeout_s) as client:
            answer = await client.post(address, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The error's own words may hold the address, which is a secret.
        raise NotDelivered(f"{shown} cannot be reached: {type(error).__name__}") from None
    if not answer.is_success:
        raise NotDelivered(f"{shown} answered {answer.status_code}")


def to_mail(channel: MailChannel, notices: Sequence[Notice], dashboard: str) -> None:
    """Send one mail; blocks for `timeout_s` a step at most. Raises NotDelivered."""
    message = EmailMessage()
    message["Subject"] = f"[cmd] {subject(notices)}"
    message["From"] = channel.sender
    message["To"] = ", ".join(channel.to)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain(notices, dashboard))
    where = f"{channel.host}:{channel.port}"
    try:
        context = ssl.create_default_context()
        if channel.encryption == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                channel.host, channel.port, timeout=channel.timeout_s, context=context
            )
        else:
            server = smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_s)
        with server:
            if channel.encryption == "starttls":
                server.starttls(context=context)
            if channel.username and channel.password_file is not None:
                server.login(channel.username, _secret_of(channel.password_file))
            server.send_message(message)
    except smtplib.SMTPAuthenticationError:
        raise NotDelivered(f"{where} does not take the password of {channel.username}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotDelivered(f"{where}: {error}") from error


def _secret_of(path: Path) -> str:
    try:
        return secret(path)
    except (OSError, ValueError) as error:
        raise NotDelivered(str(error)) from error
