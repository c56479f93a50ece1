"""The hooks of the plugin. The entry point names the object `plugin`."""

from collections.abc import Iterable

from pydantic import BaseModel

from cmd_daemon.hooks import (
    CampaignReview,
    DriverFactory,
    EventObserver,
    GroupReview,
    JobKind,
    JobTemplate,
    Selector,
    Splitter,
    hookimpl,
)
from cmd_spool.driver import SpoolFactory
from cmd_spool.journal import Journal
from cmd_spool.planning import MostFree, NightSplitter
from cmd_spool.settings import PluginSettings

NAME = "spool"


class SpoolPlugin:
    """A module would do as well; an object has a place for the settings."""

    CMD_API_VERSION = 1

    def __init__(self) -> None:
        self._settings = PluginSettings()
        self._journal = Journal()

    @hookimpl
    def cmd_register_drivers(self) -> Iterable[DriverFactory]:
        """The driver `spool`."""
        return [SpoolFactory()]

    @hookimpl
    def cmd_register_splitters(self) -> Iterable[Splitter]:
        """The splitter `nights`."""
        return [NightSplitter()]

    @hookimpl
    def cmd_register_selectors(self) -> Iterable[Selector]:
        """The algorithm `most-free`."""
        return [MostFree()]

    @hookimpl
    def cmd_register_observers(self) -> Iterable[EventObserver]:
        """The journal."""
        return [self._journal]

    @hookimpl
    def cmd_add_settings(self) -> Iterable[tuple[str, type[BaseModel]]]:
        """The section `[plugin.spool]`."""
        return [(NAME, PluginSettings)]

    @hookimpl
    def cmd_configure(self, settings: dict[str, BaseModel]) -> None:
        """Keep our own section; those of other plugins are in `settings` too."""
        own = settings[NAME]
        assert isinstance(own, PluginSettings)
        self._settings = own
        self._journal.path = own.journal

    @hookimpl
    def cmd_validate_campaign(self, campaign: CampaignReview) -> Iterable[tuple[str, str]]:
        """Only the owners of the settings may apply campaigns."""
        owners = self._settings.owners
        if owners and campaign.owner not in owners:
            return [("owner", f"{campaign.owner} may not use the spool; {', '.join(owners)} may")]
        return []

    @hookimpl
    def cmd_plan_group(self, group: GroupReview) -> tuple[JobTemplate, ...] | None:
        """The step's jobs and one more, for groups of nights, if the settings ask for it."""
        if not self._settings.verify or group.policy.split.splitter != NightSplitter.name:
            return None
        nights = list(group.share.data["nights"])
        verify = JobTemplate("verify", JobKind.SCRIPT, {"nights": nights}, timeout_s=600.0)
        return (*group.policy.jobs, verify)


plugin = SpoolPlugin()
