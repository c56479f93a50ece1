"""What BPS needs at one facility."""

from pydantic import BaseModel, ConfigDict


class BpsSettings(BaseModel):
    """Table `bps` of the section `panda`."""

    model_config = ConfigDict(extra="forbid")
