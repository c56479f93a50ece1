"""The settings of the plugin: one section for each sink."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Sink(BaseModel):
    """Base of all sinks. `url` is the server's address without a path of the API. With `token_file` a bearer
    token is sent, with `username` and `password_file` a password; the files are read again at each
    delivery. `ca` is a file of certificates to trust. At most `batch` lines go in one delivery, which
    has `timeout_s`; at most `buffer` lines wait, then the oldest are dropped."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^https?://[^@]+$")
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca: Path | None = None
    batch: int = Field(default=1000, ge=1, le=10_000)
    buffer: int = Field(default=50_000, ge=1, le=1_000_000)
    timeout_s: float = Field(default=20.0, gt=0, le=300)

    @model_validator(mode="after")
    def _is_whole(self) -> "Sink":
        if bool(self.username) != (self.password_file is not None):
            raise ValueError("username and password_file belong together")
        if self.username and self.token_file is not None:
            raise ValueError("give token_file, or username and password_file")
        return self


class LokiSink(Sink):
    """`kind = "loki"`: the push API. `tenant` goes as `X-Scope-OrgID`; `labels` are put to every stream."""

    kind: Literal["loki"]
    tenant: str = ""
    labels: dict[str, str] = Field(default_factory=lambda: {"job": "cmd-daemon"})


class OpenSearchSink(Sink):
    """`kind = "opensearch"`: the bulk API, into the indices `PREFIX-transitions` and `PREFIX-nexus`."""

    kind: Literal["opensearch"]
    prefix: str = Field(default="cmd", pattern=r"^[a-z0-9][a-z0-9._-]*$")


AnySink = Annotated[LokiSink | OpenSearchSink, Field(discriminator="kind")]


class SinksSettings(BaseModel):
    """`[plugin.sinks]`: `sink` has a section for each sink."""

    model_config = ConfigDict(extra="forbid")

    sink: dict[str, AnySink] = Field(default_factory=dict)
