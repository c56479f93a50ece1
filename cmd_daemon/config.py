"""The daemon's configuration: one TOML file, validated as a whole."""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from cmd_daemon.api.identity.settings import IdentitySection, ListenSection, check
from cmd_daemon.hooks.ports import FacilityInfo, Queue
from cmd_daemon.kernel.states import JobKind
from cmd_daemon.sections import Duration, Memory, Section, to_bytes


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file and every wrong key."""


class DaemonSection(Section):
    """`[daemon]`: where it keeps its state and listens, and which plugins it loads.

    `database` is a path or a SQLAlchemy URL. A password for it is in `database_password_file`; a relative
    name there is one of systemd's credentials. `socket` is the path of the Unix socket, `metrics` an
    address `host:port` for Prometheus (empty: none). Facilities are looked at every `probe_s` seconds.
    A command to an attempt outside that is not done after `command_s` seconds is given up.
    """

    state_dir: Path = Path("/var/lib/cmd-daemon")
    database: str = ""
    database_password_file: Path | None = None
    socket: Path = Path("/run/cmd-daemon/cmd.sock")
    plugins: list[str] = Field(default_factory=lambda: ["local", "facility"])
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field(default="json", pattern="^(json|console)$")
    metrics: str = ""
    probe_s: Duration = 30.0
    command_s: Duration = 600.0

    @field_validator("database")
    @classmethod
    def _holds_no_password(cls, value: str) -> str:
        if "://" in value and "@" in value and ":" in value.partition("://")[2].rpartition("@")[0]:
            raise ValueError(
                "holds a password; put it into a file, and that into database_password_file"
            )
        return value

    @property
    def database_url(self) -> str:
        """The database as a SQLAlchemy URL."""
        if "://" in self.database:
            return self.database
        path = Path(self.database) if self.database else self.state_dir / "cmd.db"
        return f"sqlite+aiosqlite:///{path.absolute()}"

    @property
    def password_file(self) -> Path | None:
        """The file with the database's password; None where it comes otherwise, or none is needed."""
        if self.database_password_file is None:
            return None
        return Path(os.environ.get("CREDENTIALS_DIRECTORY", ".")) / self.database_password_file


class QueueSection(Section):
    """`[facility.NAME.queues.CLASS]`: a memory class. A job goes to the smallest it fits into."""

    slots: int = Field(ge=0, le=1_000_000)
    memory: Memory
    cores: int = Field(default=1, ge=1)
    walltime: Duration = 86_400.0


class FacilitySection(Section):
    """`[facility.NAME]`: a Data Facility.

    `slots` is the number of its jobs at a time, `lanes` the same for single drivers; `memory`,
    `cores` and `walltime` are the most one job may ask for. `butlers` maps repository labels to
    places, `stacks` versions to the Python of that stack, `drivers` job kinds to drivers.
    `settings` has a section for each driver that wants one, one for the agent, and one for the
    transport, which says how programs are started there. `queues` are its memory classes, `storage` maps
    names of storage elements to paths there, `links` the facilities that data can come from to bytes
    a second (0: not measured; without the key nobody knows).
    """

    slots: int = Field(default=1, ge=1, le=1_000_000)
    lanes: dict[str, int] = Field(default_factory=dict)
    memory: Memory = 4_000_000_000
    cores: int = Field(default=1, ge=1)
    walltime: Duration = 86_400.0
    butlers: dict[str, str] = Field(default_factory=dict)
    stacks: dict[str, str] = Field(default_factory=dict)
    drivers: dict[JobKind, str]
    agent: str = ""
    transport: str = "local"
    queues: dict[str, QueueSection] = Field(default_factory=dict)
    storage: dict[str, str] = Field(default_factory=dict)
    links: dict[str, Annotated[float, BeforeValidator(to_bytes), Field(ge=0)]] | None = None
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def info(self, name: str) -> FacilityInfo:
        """The facility as plugins see it."""
        return FacilityInfo(
            name=name,
            slots=self.slots,
            memory=self.memory,
            cores=self.cores,
            walltime_s=self.walltime,
            butlers=self.butlers,
            stacks=self.stacks,
            drivers=self.drivers,
            settings=self.settings,
            transport=self.transport,
            queues=tuple(
                Queue(name, each.slots, each.memory, cores=each.cores, walltime_s=each.walltime)
                for name, each in self.queues.items()
            ),
            storage=self.storage,
            links=self.links,
        )


class TracesSection(Section):
    """`[traces]`: where OpenTelemetry spans are sent to, by OTLP over HTTP (empty: nowhere), and which share
    of the traces (0 to 1). Needs the extra `otel`."""

    endpoint: str = Field(default="", pattern="^(https?://.+)?$")
    ratio: float = Field(default=1.0, ge=0.0, le=1.0)


class RetentionSection(Section):
    """`[retention]`: archived campaigns that ended more than `after_days` ago are exported to `directory`
    and removed from the database. Without the section everything stays."""

    after_days: float = Field(ge=0)
    directory: Path


class Config(Section):
    """The whole file."""

    daemon: DaemonSection = Field(default_factory=DaemonSection)
    traces: TracesSection = Field(default_factory=TracesSection)
    retention: RetentionSection | None = None
    facility: dict[str, FacilitySection] = Field(default_factory=dict)
    plugin: dict[str, dict[str, Any]] = Field(default_factory=dict)
    listen: dict[str, ListenSection] = Field(default_factory=dict)
    identity: IdentitySection = Field(default_factory=IdentitySection)

    @model_validator(mode="after")
    def _has_facilities(self) -> "Config":
        for name in self.facility:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"facility name {name!r}: letters, digits, '-' and '_' only")
        check(self.listen, self.identity)
        return self


def read_config(path: Path) -> Config:
    """Read and validate a configuration file. Raises ConfigError; nothing else has happened then."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from error
