"""The settings of the driver `mover` at one facility."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo


class MoverSettings(BaseModel):
    """Section `mover` of a facility.

    `tape` names the facility's tape elements and the directory of each, where archives are stored.
    `timeout_s` is for one question to an agent, `patience_s` how long an agent that has died, or a
    facility whose connection was lost, is asked again before the attempt ends as failed. `page`
    datasets go into one question, at most `bundle_members` files and `bundle_bytes` (a single
    larger file apart) into one bundle. `streams`
    files are sent at a time, in pieces of `chunk` bytes; a file that arrives corrupted is sent
    `sends` times in all. Outcomes are remembered for `keep_days`.
    """

    model_config = ConfigDict(extra="forbid")

    tape: dict[str, Path] = Field(default_factory=dict)
    timeout_s: float = Field(default=300.0, gt=0)
    patience_s: float = Field(default=60.0, ge=0)
    page: int = Field(default=500, ge=1, le=100_000)
    bundle_members: int = Field(default=2000, ge=1)
    bundle_bytes: ByteSize = Field(default=ByteSize(4 * 1024**3), gt=0)
    streams: int = Field(default=4, ge=1)
    chunk: ByteSize = Field(default=ByteSize(4 * 1024**2), gt=0)
    sends: int = Field(default=3, ge=1)
    keep_days: float = Field(default=30.0, gt=0)


def tape_elements(facility: FacilityInfo) -> dict[str, Path]:
    """The facility's tape elements by name. Raises DriverError PERMANENT for a wrong section."""
    section: Any = facility.settings.get("mover", {})
    try:
        return MoverSettings.model_validate(section).tape
    except ValidationError as error:
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name}: section 'mover' of its settings is wrong: {error}",
        ) from error
