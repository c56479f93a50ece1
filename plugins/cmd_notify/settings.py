"""The settings of the plugin: one section for each channel to people."""

import re
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SEVERITIES = ("info", "warning", "urgent")

_QUIET = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")


class Channel(BaseModel):
    """Base of all channels: what goes through it, and when.

    Notices below `severity` and of campaigns whose name matches none of the patterns `campaigns` are
    not for this channel; those about facilities and the daemon are, whatever the patterns. In the
    `quiet` hours (`22:00-07:00`, by the clock of `zone`) only urgent ones are delivered; the others
    follow when they are over, if they still hold. `timeout_s` is for one delivery.
    """

    model_config = ConfigDict(extra="forbid")

    severity: Literal["info", "warning", "urgent"] = "warning"
    campaigns: list[str] = Field(default_factory=lambda: ["*"])
    quiet: str = ""
    zone: str = "UTC"
    timeout_s: float = Field(default=20.0, gt=0, le=50)

    @field_validator("quiet")
    @classmethod
    def _is_span(cls, value: str) -> str:
        if value and not _QUIET.match(value):
            raise ValueError("must be hours such as 22:00-07:00")
        return value

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("is no time zone, such as America/Los_Angeles") from error
        return value

    def is_quiet(self, now: datetime) -> bool:
        """Whether `now` (with a time zone) is in the quiet hours."""
        match = _QUIET.match(self.quiet)
        if match is None:
            return False
        hours = [int(each) for each in match.groups()]
        begin, end = time(hours[0], hours[1]), time(hours[2], hours[3])
        here = now.astimezone(ZoneInfo(self.zone)).time()
        if begin <= end:
            return begin <= here < end
        return here >= begin or here < end


class ChatChannel(Channel):
    """`kind = "slack"` or `"mattermost"`: an incoming webhook. Its address is a secret: `url_file`
    holds it in its first line."""

    kind: Literal["slack", "mattermost"]
    url_file: Path


class WebhookChannel(Channel):
    """`kind = "webhook"`: JSON to any address, signed with HMAC-SHA256 by the key in `key_file`."""

    kind: Literal["webhook"]
    url: str = Field(pattern=r"^https?://")
    key_file: Path


class MailChannel(Channel):
    """`kind = "mail"`: SMTP. With `username`, `password_file` is needed, and encryption too."""

    kind: Literal["mail"]
    host: str
    port: int = Field(default=587, ge=1, le=65535)
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password_file: Path | None = None
    sender: str
    to: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_whole(self) -> "MailChannel":
        if self.username and self.password_file is None:
            raise ValueError("username needs password_file")
        if self.username and self.encryption == "none":
            raise ValueError("a password needs encryption = 'starttls' or 'tls'")
        return self


AnyChannel = Annotated[ChatChannel | WebhookChannel | MailChannel, Field(discriminator="kind")]


class NotifySettings(BaseModel):
    """`[plugin.notify]`: `dashboard` is where people find the pages (its address is put before
    links; none without it), `channel` has a section for each channel."""

    model_config = ConfigDict(extra="forbid")

    dashboard: str = Field(default="", pattern=r"^(https?://.+)?$")
    channel: dict[str, AnyChannel] = Field(default_factory=dict)


def secret(path: Path) -> str:
    """The first line of a file. Raises OSError, and ValueError if it is empty."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or not lines[0].strip():
        raise ValueError(f"{path} is empty")
    return lines[0].strip()
