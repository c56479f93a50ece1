"""The notifier of one channel: chooses what is for it, and keeps quiet in quiet hours."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from cmd_daemon.hooks import Notice
from cmd_notify.sending import to_chat, to_mail, to_webhook
from cmd_notify.settings import SEVERITIES, AnyChannel, ChatChannel, MailChannel


class ChannelNotifier:
    """Carries notices through one channel. `now` tells seconds since the epoch."""

    def __init__(
        self,
        name: str,
        channel: AnyChannel,
        dashboard: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._channel = channel
        self._dashboard = dashboard
        self._now = now

    def _is_for_us(self, notice: Notice) -> bool:
        channel = self._channel
        if SEVERITIES.index(notice.severity) < SEVERITIES.index(channel.severity):
            return False
        kind, _, rest = notice.entity.partition("/")
        campaign = rest.partition("/")[0]
        return kind != "campaigns" or any(fnmatchcase(campaign, p) for p in channel.campaigns)

    async def notify(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """One message for all that are for this channel now; those that wait for the end of the quiet
        hours are given back. Raises NotDelivered."""
        ours = [each for each in notices if self._is_for_us(each)]
        later: list[Notice] = []
        if self._channel.is_quiet(datetime.fromtimestamp(self._now(), UTC)):
            later = [each for each in ours if each.severity != "urgent"]
            ours = [each for each in ours if each.severity == "urgent"]
        if ours:
            await self._send(ours)
        return later

    async def _send(self, notices: Sequence[Notice]) -> None:
        channel = self._channel
        if isinstance(channel, ChatChannel):
            await to_chat(channel, notices, self._dashboard)
        elif isinstance(channel, MailChannel):
            await asyncio.to_thread(to_mail, channel, notices, self._dashboard)
        else:
            await to_webhook(channel, notices, self._dashboard, int(self._now()))
