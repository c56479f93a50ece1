"""The hooks: how a plugin registers what it brings. Typed, called by keyword, never awaited.

A plugin is an object (usually a module) named by an entry point of the group `cmd_daemon.plugins` and
enabled by name in the daemon's configuration. It must carry `CMD_API_VERSION`, the version of
this API it was written for. Implementations are marked with `hookimpl`.
"""

from collections.abc import Iterable

import pluggy
from pydantic import BaseModel

from cmd_daemon.hooks.facilities import FacilityProbe, InputLocator
from cmd_daemon.hooks.placement import Selector
from cmd_daemon.hooks.ports import AgentFactory, DriverFactory, EventObserver, Notifier, Splitter
from cmd_daemon.hooks.review import CampaignReview, GroupReview
from cmd_daemon.hooks.transports import TransportFactory
from cmd_daemon.kernel.policy import JobTemplate

API_VERSION = 1
PROJECT = "cmd_daemon"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """All hooks a plugin may implement; each is optional."""

    @hookspec
    def cmd_register_drivers(self) -> Iterable[DriverFactory]:  # type: ignore[empty-body]
        """Driver factories. Called once at start. Names must be unique over all plugins."""

    @hookspec
    def cmd_register_agents(self) -> Iterable[AgentFactory]:  # type: ignore[empty-body]
        """Agent factories. Called once at start. Names must be unique over all plugins."""

    @hookspec
    def cmd_register_transports(self) -> Iterable[TransportFactory]:  # type: ignore[empty-body]
        """Transport factories. Called once at start. Names must be unique over all plugins."""

    @hookspec
    def cmd_register_probes(self) -> Iterable[FacilityProbe]:  # type: ignore[empty-body]
        """Probes that look at facilities. Called once at start."""

    @hookspec
    def cmd_register_locators(self) -> Iterable[InputLocator]:  # type: ignore[empty-body]
        """Locators of inputs. Called once at start; the first one that is loaded is asked."""

    @hookspec
    def cmd_register_splitters(self) -> Iterable[Splitter]:  # type: ignore[empty-body]
        """Splitters, named as in `split: {by: ...}`. Called once at start."""

    @hookspec
    def cmd_register_selectors(self) -> Iterable[Selector]:  # type: ignore[empty-body]
        """Selectors, for the algorithms they name. Called once at start."""

    @hookspec
    def cmd_register_notifiers(self) -> Iterable[Notifier]:  # type: ignore[empty-body]
        """Notifiers. Called once at start, after `cmd_configure`: settings may say how many."""

    @hookspec
    def cmd_register_observers(self) -> Iterable[EventObserver]:  # type: ignore[empty-body]
        """Observers of committed events. Called once at start, after `cmd_configure`."""

    @hookspec
    def cmd_add_settings(self) -> Iterable[tuple[str, type[BaseModel]]]:  # type: ignore[empty-body]
        """Sections the plugin adds to the configuration under `[plugin.<name>]`."""

    @hookspec
    def cmd_configure(self, settings: dict[str, BaseModel]) -> None:
        """The plugin's validated sections, once, before anything is created."""

    @hookspec
    def cmd_validate_campaign(self, campaign: CampaignReview) -> Iterable[tuple[str, str]]:  # type: ignore[empty-body]
        """Problems with a campaign as (field path, words), from all plugins, before it is stored."""

    @hookspec(firstresult=True)
    def cmd_plan_group(self, group: GroupReview) -> tuple[JobTemplate, ...] | None:
        """The jobs of one group, instead of the step's own; the first plugin that answers wins."""
