"""What a facility's section of the configuration makes: its lanes with their drivers, its transport, its
agent. Made at the start, and made anew when the section, or a file that it names, has changed."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cmd_daemon.config import Config, ConfigError, FacilitySection
from cmd_daemon.engine.lanes import Lane
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import DriverError, FacilityInfo, ManagedAgent
from cmd_daemon.hooks.transports import Transport
from cmd_daemon.host import DaemonHost

Files = Mapping[str, tuple[int, int, int]]


@dataclass(slots=True)
class Outfit:
    """All of one facility. `section` and `files` tell whether it is still what the configuration says."""

    info: FacilityInfo
    section: FacilitySection
    files: Files
    lanes: list[Lane]
    transport: Transport | None = None
    agent: ManagedAgent | None = None

    def put(self, host: DaemonHost) -> None:
        """Let plugins find the transport and the agent."""
        for kept, made in ((host.transports, self.transport), (host.agents, self.agent)):
            kept.pop(self.info.name, None)
            if made is not None:
                kept[self.info.name] = made  # type: ignore[assignment]


def outfits(
    config: Config, plugins: Plugins, host: DaemonHost, former: Mapping[str, Outfit] | None = None
) -> dict[str, Outfit]:
    """An outfit for each facility that is new or not any more as it was, by name. Raises ConfigError that
    names every wrong key; nothing has been started then."""
    made: dict[str, Outfit] = {}
    problems: list[str] = []
    for name, section in config.facility.items():
        files = files_of(section)
        known = (former or {}).get(name)
        if known is None or (known.section, known.files) != (section, files):
            made[name] = Outfit(section.info(name), section, files, [])
            problems += _fit(made[name], plugins, host)
    if problems:
        raise ConfigError("\n".join(problems))
    return made


def _fit(outfit: Outfit, plugins: Plugins, host: DaemonHost) -> Iterator[str]:
    """Make all of it; what is wrong, each with its key."""
    info, section = outfit.info, outfit.section
    where = f"facility.{info.name}"
    for driver in dict.fromkeys(section.drivers.values()):
        factory = plugins.drivers.get(driver)
        if factory is None:
            known = ", ".join(sorted(plugins.drivers)) or "none"
            yield f"{where}.drivers: no plugin brings driver {driver!r}; known: {known}"
            continue
        unserved = [k for k, d in section.drivers.items() if d == driver and k not in factory.kinds]
        if unserved:
            yield f"{where}.drivers: driver {driver!r} does not do {', '.join(unserved)} jobs"
        try:
            settings = factory.settings.model_validate(section.settings.get(driver, {}))
            made = factory.create(info, settings, host)
        except (ValidationError, ValueError, TypeError) as error:
            yield f"{where}.settings.{driver}: {error}"
            continue
        limit = section.lanes.get(driver, section.slots)
        outfit.lanes.append(Lane(info.name, driver, made, limit, fixed=driver in section.lanes))
    transport = plugins.transports.get(section.transport)
    if transport is not None:
        try:
            outfit.transport = transport.create(info, host)
        except (DriverError, ValueError, TypeError) as error:
            yield f"{where}.settings.{section.transport}: {error}"
    elif "transport" in section.model_fields_set:
        known = ", ".join(sorted(plugins.transports)) or "none"
        yield f"{where}.transport: no plugin brings transport {section.transport!r}; known: {known}"
    if section.agent:
        agent = plugins.agents.get(section.agent)
        if agent is None:
            known = ", ".join(sorted(plugins.agents)) or "none"
            yield f"{where}.agent: no plugin brings agent {section.agent!r}; known: {known}"
            return
        outfit.agent = agent.create(info, host)


def files_of(section: FacilitySection) -> Files:
    """The files that a section's settings name (credentials, keys, rules), with what tells one state of a
    file from another."""
    found: dict[str, tuple[int, int, int]] = {}
    for text in _texts(section.settings):
        for folder in ("", os.environ.get("CREDENTIALS_DIRECTORY", "")):
            try:
                path = Path(folder, text)
                seen = path.stat()
                if path.is_file():
                    found[str(path)] = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
            except (OSError, ValueError):
                continue  # most texts are no names of files
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
