"""The settings of this plugin's drivers and agent at one facility."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo


class LocalSettings(BaseModel):
    """Section `local` of a facility.

    `work_dir` holds one directory for each attempt (default: below the daemon's state directory);
    it must be on a disk of the machine the daemon runs on. `slots` and `memory` limit what runs at
    a time (default: the facility's slots; no limit on memory). `stack_python` replaces the Python
    of every stack. `pipeline_env` is the environment of process jobs, `env` of script jobs.
    `grace_s` is the time between asking a process to end and killing it. Attempts that ended more
    than `keep_days` ago are removed at start; without it all are kept.
    """

    model_config = ConfigDict(extra="forbid")

    work_dir: Path | None = None
    scripts_dir: Path | None = None
    stack_python: str | None = None
    pipeline_env: dict[str, str] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    slots: int | None = Field(default=None, ge=1)
    memory: ByteSize | None = None
    grace_s: float = Field(default=10.0, ge=0.0)
    keep_days: float | None = Field(default=None, gt=0)


class ButlerSettings(BaseModel):
    """Section `butler` of a facility: `timeout_s` for one collection job's question to the agent;
    outcomes are remembered for `keep_days`."""

    model_config = ConfigDict(extra="forbid")

    timeout_s: float = Field(default=300.0, gt=0)
    keep_days: float = Field(default=30.0, gt=0)


class AgentSettings(BaseModel):
    """Section `agent` of a facility.

    `stack` is the version whose Python runs the agent; it may be left out where the facility has
    only one. `start_s` is how long the agent may take to become ready, the pause after a death
    grows from `backoff_s` to `backoff_max_s` (seconds).
    """

    model_config = ConfigDict(extra="forbid")

    stack: str | None = None
    program: Path | None = None
    env: dict[str, str] = Field(default_factory=dict)
    start_s: float = Field(default=60.0, gt=0)
    backoff_s: float = Field(default=1.0, gt=0)
    backoff_max_s: float = Field(default=60.0, gt=0)


def agent_settings(facility: FacilityInfo) -> AgentSettings:
    """The validated section `agent` of a facility; DriverError PERMANENT names what is wrong."""
    section: Any = facility.settings.get("agent", {})
    try:
        return AgentSettings.model_validate(section)
    except ValidationError as error:
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name}: section 'agent' of its settings is wrong: {error}",
        ) from error
