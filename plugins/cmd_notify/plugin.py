"""What this plugin brings: a notifier for each channel of `[plugin.notify]`."""

from collections.abc import Iterable

from pydantic import BaseModel

from cmd_daemon.hooks import Notifier, hookimpl
from cmd_notify.notifier import ChannelNotifier
from cmd_notify.settings import NotifySettings

CMD_API_VERSION = 1
NAME = "notify"


class NotifyPlugin:
    """Keeps the settings until the notifiers are asked for."""

    CMD_API_VERSION = CMD_API_VERSION

    def __init__(self) -> None:
        self._settings = NotifySettings()

    @hookimpl
    def cmd_add_settings(self) -> Iterable[tuple[str, type[BaseModel]]]:
        """The section `[plugin.notify]`."""
        return [(NAME, NotifySettings)]

    @hookimpl
    def cmd_configure(self, settings: dict[str, BaseModel]) -> None:
        """Keep the section."""
        own = settings[NAME]
        assert isinstance(own, NotifySettings)
        self._settings = own

    @hookimpl
    def cmd_register_notifiers(self) -> Iterable[Notifier]:
        """A notifier for each channel, called `notify.CHANNEL`."""
        return [
            ChannelNotifier(f"{NAME}.{name}", channel, self._settings.dashboard)
            for name, channel in self._settings.channel.items()
        ]


plugin = NotifyPlugin()
