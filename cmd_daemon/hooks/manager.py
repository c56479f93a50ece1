"""A typed facade over pluggy: loads the enabled plugins, checks them, and keeps what they bring."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pluggy
import structlog
from pydantic import BaseModel, ValidationError

from cmd_daemon.hooks.facilities import FacilityProbe, InputLocator
from cmd_daemon.hooks.placement import Selector
from cmd_daemon.hooks.ports import AgentFactory, DriverFactory, EventObserver, Notifier, Splitter
from cmd_daemon.hooks.review import CampaignReview, GroupReview
from cmd_daemon.hooks.spec import API_VERSION, PROJECT, Hooks
from cmd_daemon.hooks.transports import TransportFactory
from cmd_daemon.kernel.policy import JobTemplate

log = structlog.get_logger()

ENTRY_POINTS = "cmd_daemon.plugins"


class PluginError(Exception):
    """A plugin cannot be used; the message names it and says what to do. The daemon refuses to start."""


@dataclass(slots=True)
class PluginInfo:
    """A loaded plugin and what it brought."""

    name: str
    distribution: str
    version: str
    api_version: int
    brings: list[str] = field(default_factory=list)


class Plugins:
    """Everything the enabled plugins bring, by name."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Hooks)
        self.infos: list[PluginInfo] = []
        self.drivers: dict[str, DriverFactory] = {}
        self.agents: dict[str, AgentFactory] = {}
        self.transports: dict[str, TransportFactory] = {}
        self.probes: dict[str, FacilityProbe] = {}
        self.locators: dict[str, InputLocator] = {}
        self.splitters: dict[str, Splitter] = {}
        self.selectors: dict[str, Selector] = {}
        self.notifiers: dict[str, Notifier] = {}
        self.observers: dict[str, EventObserver] = {}

    @classmethod
    def load(cls, enabled: Iterable[str], settings: Mapping[str, Mapping[str, Any]]) -> "Plugins":
        """Load plugins by the names of their entry points. Raises PluginError."""
        available: dict[str, EntryPoint] = {
            point.name: point for point in entry_points(group=ENTRY_POINTS)
        }
        plugins = cls()
        for name in enabled:
            point = available.get(name)
            if point is None:
                known = ", ".join(sorted(available)) or "none"
                raise PluginError(f"no installed plugin is called {name!r}; installed are: {known}")
            try:
                module = point.load()
            except Exception as error:
                raise PluginError(f"plugin {name!r} cannot be imported: {error}") from error
            source = point.dist
            plugins.add(
                name, module, source.name if source else "", source.version if source else ""
            )
        plugins.check()
        plugins.configure(settings)
        return plugins

    def add(
        self, name: str, module: ModuleType | object, distribution: str = "", version: str = ""
    ) -> None:
        """Add one plugin object and take what it brings. Raises PluginError."""
        written_for = getattr(module, "CMD_API_VERSION", None)
        if written_for != API_VERSION:
            raise PluginError(
                f"plugin {name!r} was written for version {written_for} of the plugin API; "
                f"this daemon has version {API_VERSION}"
            )
        info = PluginInfo(name, distribution, version, written_for)
        try:
            self._manager.register(module, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin {name!r} does not fit its hooks: {error}") from error
        self._take(module, info)
        self.infos.append(info)

    def check(self) -> None:
        """Raise PluginError for hooks that do not exist (a misspelt name would never be called)."""
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"a plugin implements an unknown hook: {error}") from error

    def _take(self, module: object, info: PluginInfo) -> None:
        kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("cmd_register_drivers", "driver", self.drivers),
            ("cmd_register_agents", "agent", self.agents),
            ("cmd_register_transports", "transport", self.transports),
            ("cmd_register_probes", "probe", self.probes),
            ("cmd_register_locators", "locator", self.locators),
            ("cmd_register_splitters", "splitter", self.splitters),
        )
        for hook, what, found in kinds:
            for each in self._call(module, hook, info):
                _keep(found, each.name, each, f"{what} {each.name}", info)
        for selector in self._call(module, "cmd_register_selectors", info):
            for algorithm in sorted(selector.algorithms):
                _keep(self.selectors, algorithm, selector, f"algorithm {algorithm}", info)

    def _call(self, module: object, hook: str, info: PluginInfo) -> list[Any]:
        implementation = getattr(module, hook, None)
        if implementation is None:
            return []
        try:
            return list(implementation())
        except Exception as error:
            raise PluginError(f"plugin {info.name!r} failed in {hook}: {error}") from error

    def configure(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Validate the plugins' own sections and hand them over. Raises PluginError."""
        models = {
            name: model
            for section in self._manager.hook.cmd_add_settings()
            for name, model in section
        }
        for name in settings:
            if name not in models:
                known = ", ".join(sorted(models)) or "none"
                raise PluginError(f"[plugin.{name}]: no plugin has such settings; known: {known}")
        valid: dict[str, BaseModel] = {}
        for name, model in models.items():
            try:
                valid[name] = model.model_validate(dict(settings.get(name, {})))
            except ValidationError as error:
                raise PluginError(f"[plugin.{name}]: {error}") from error
        self._manager.hook.cmd_configure(settings=valid)
        infos = {info.name: info for info in self.infos}
        kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("cmd_register_notifiers", "notifier", self.notifiers),
            ("cmd_register_observers", "observer", self.observers),
        )
        for name, module in self._manager.list_name_plugin():
            for hook, what, found in kinds:
                for each in self._call(module, hook, infos[name]):
                    _keep(found, each.name, each, f"{what} {each.name}", infos[name])

    def validate_campaign(self, campaign: CampaignReview) -> list[tuple[str, str]]:
        """Problems all plugins see in a campaign, as (field, words). A plugin that fails is a problem too."""
        found: list[tuple[str, str]] = []
        for name, plugin in self._manager.list_name_plugin():
            judge = getattr(plugin, "cmd_validate_campaign", None)
            if judge is None:
                continue
            try:
                found.extend((str(field), str(words)) for field, words in judge(campaign=campaign))
            except Exception as error:
                log.exception("a plugin failed to validate", plugin=name)
                found.append(("", f"plugin {name} failed to validate: {error}"))
        return found

    def plan_group(self, group: GroupReview) -> tuple[JobTemplate, ...] | None:
        """A plugin's own jobs for a group, or None. Raises PluginError if a plugin fails."""
        try:
            planned: tuple[JobTemplate, ...] | None = self._manager.hook.cmd_plan_group(group=group)
        except Exception as error:
            raise PluginError(
                f"a plugin failed to plan group {group.step}/{group.share.name}: {error}"
            ) from error
        return planned


def _keep(found: dict[str, Any], name: str, what: Any, brings: str, info: PluginInfo) -> None:
    if name in found:
        raise PluginError(f"plugin {info.name!r} brings {brings}, but another plugin did already")
    found[name] = what
    info.brings.append(brings)
