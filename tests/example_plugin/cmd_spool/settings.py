"""What a person may configure."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class SpoolSettings(BaseModel):
    """`[facility.NAME.settings.spool]`: the driver at one facility.

    `directory` is that of the spool (default: below the daemon's state directory), `poll_s` the
    seconds between two looks at it.
    """

    model_config = ConfigDict(extra="forbid")

    directory: Path | None = None
    poll_s: float = Field(default=1.0, gt=0)


class PluginSettings(BaseModel):
    """`[plugin.spool]`: the plugin as a whole.

    `journal` is the file that finished campaigns are written to (default: none), `owners` those
    who may apply campaigns (default: all), `verify` adds a job to the groups of the splitter `nights`.
    """

    model_config = ConfigDict(extra="forbid")

    journal: Path | None = None
    owners: list[str] = Field(default_factory=list)
    verify: bool = False
