"""The settings of this plugin's drivers at one facility."""

from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    model_validator,
)


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("must be an absolute path at the facility")
    return path


FarPath = Annotated[str, AfterValidator(_absolute)]


class ScriptSettings(BaseModel):
    """What both drivers of scripts need.

    `scripts_dir` is a folder of the daemon's machine: the text of a script travels to the facility.
    `env` is the environment of every script, `slots` limits the attempts at a time (default: the
    facility's slots), `grace_s` is the time between asking a script to end and killing it, `poll_s`
    the seconds between two looks.
    """

    model_config = ConfigDict(extra="forbid")

    scripts_dir: Path | None = None
    env: dict[str, str] = Field(default_factory=dict)
    slots: int | None = Field(default=None, ge=1)
    grace_s: float = Field(default=10.0, ge=0.0)
    poll_s: float = Field(default=5.0, gt=0.0)


class SshSettings(ScriptSettings):
    """Section `ssh` of a facility.

    `known_hosts` names a file with the host's key: a host that shows another one is never spoken to.
    `key` names the private key's file; the word that opens it, if it needs one, is in the file
    `key_password_file`. Nothing is read from the daemon user's own ssh folder or agent. `channels`
    are the commands at a time over the one connection (OpenSSH allows 10 unless told otherwise).
    `work_dir` is a folder at the facility, on a file system where flock works; `python` a Python 3.6
    or newer there. A connection that shows no life for three times `keepalive_s` is given up; after a
    failure the next attempt to connect waits from `backoff_s` up to `backoff_max_s`. Attempts that
    ended more than `keep_days` ago are removed at start. `pipeline_env` is the environment of process
    jobs; `memory` limits what the attempts of a time may use together (default: no limit).
    """

    host: str = Field(min_length=1)
    port: int = Field(default=22, ge=1, le=65535)
    user: str = Field(min_length=1)
    known_hosts: Path
    key: Path
    key_password_file: Path | None = None
    connect_s: float = Field(default=15.0, gt=0)
    keepalive_s: float = Field(default=15.0, gt=0)
    call_s: float = Field(default=60.0, gt=0)
    channels: int = Field(default=8, ge=1, le=100)
    backoff_s: float = Field(default=0.5, gt=0)
    backoff_max_s: float = Field(default=60.0, gt=0)
    work_dir: FarPath
    python: FarPath = "/usr/bin/python3"
    keep_days: float | None = Field(default=30.0, gt=0)
    pipeline_env: dict[str, str] = Field(default_factory=dict)
    memory: ByteSize | None = None


class ArcSettings(ScriptSettings):
    """Section `arc` of a facility.

    `url` is the computing element's, as https://host:port/arex. `ca` is a file of the certificate
    authorities to trust, and nothing else is. The daemon shows either a client certificate (`cert`
    and `key`, which may be one proxy file) or a bearer token (`token_file`, read at each call, so
    that it may be renewed). `queue` is put into the job description. A submission whose answer was
    lost may still arrive for `settle_s`: until then nobody says that it is absent.
    """

    url: str = Field(pattern=r"^https://[^/]+/\S+[^/]$")
    ca: Path
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    queue: str = ""
    runtime_environments: tuple[str, ...] = ()
    connect_s: float = Field(default=15.0, gt=0)
    call_s: float = Field(default=60.0, gt=0)
    settle_s: float = Field(default=180.0, ge=0)
    poll_s: float = Field(default=20.0, gt=0)

    @model_validator(mode="after")
    def _one_credential(self) -> "ArcSettings":
        if (self.cert is None) == (self.token_file is None):
            raise ValueError("give either 'cert' (with 'key') or 'token_file'")
        return self
