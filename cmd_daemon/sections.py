"""What all sections of the configuration file are made of."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cmd_daemon.spec.units import parse_duration, parse_memory


def to_bytes(value: object) -> object:
    """A text such as `8 GB` as a number of bytes; everything else as it is."""
    return parse_memory(value) if isinstance(value, str) else value


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Memory = Annotated[int, BeforeValidator(to_bytes), Field(gt=0)]
Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")
