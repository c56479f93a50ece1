"""What this plugin brings: an observer for each sink of `[plugin.sinks]`."""

from collections.abc import Iterable

from pydantic import BaseModel

from cmd_daemon.hooks import EventObserver, hookimpl
from cmd_sinks.settings import SinksSettings
from cmd_sinks.sink import ShippingObserver

CMD_API_VERSION = 1
NAME = "sinks"


class SinksPlugin:
    """Keeps the settings until the observers are asked for."""

    CMD_API_VERSION = CMD_API_VERSION

    def __init__(self) -> None:
        self._settings = SinksSettings()

    @hookimpl
    def cmd_add_settings(self) -> Iterable[tuple[str, type[BaseModel]]]:
        """The section `[plugin.sinks]`."""
        return [(NAME, SinksSettings)]

    @hookimpl
    def cmd_configure(self, settings: dict[str, BaseModel]) -> None:
        """Keep the section."""
        own = settings[NAME]
        assert isinstance(own, SinksSettings)
        self._settings = own

    @hookimpl
    def cmd_register_observers(self) -> Iterable[EventObserver]:
        """An observer for each sink, called `sinks.NAME`."""
        return [
            ShippingObserver(f"{NAME}.{name}", sink) for name, sink in self._settings.sink.items()
        ]


plugin = SinksPlugin()
