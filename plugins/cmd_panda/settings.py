"""The settings of the driver `panda` at one facility: its PanDA server, who we are there, and its queues."""

import hashlib
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmd_housekeeping.settings import ScriptSettings
from cmd_panda.bps.settings import BpsSettings
from cmd_rucio_butler.settings import StompSettings

NAME = "panda"


def sure_url(value: str) -> str:
    """A URL to which a credential may go: https, or http on this machine itself."""
    parts = urlsplit(value)
    if parts.scheme == "https" and parts.hostname:
        return value.rstrip("/")
    if parts.scheme == "http" and parts.hostname and _is_here(parts.hostname):
        return value.rstrip("/")
    raise ValueError("must be a URL that begins with https:// (http:// only for this machine)")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RefreshSettings(BaseModel):
    """Table `refresh` of the section: how a new id token is got before the present one expires.

    `token_file` holds the refresh token; it is written again where the issuer gives another one.
    `token_url` is the issuer's token endpoint; `client_secret_file` is for clients that have one.
    """

    model_config = ConfigDict(extra="forbid")

    token_url: str
    client_id: str
    client_secret_file: Path | None = None
    token_file: Path
    scope: str = "openid profile offline_access"

    _sure = field_validator("token_url")(sure_url)


class ErrorRule(BaseModel):
    """One line of the error table: errors of this `source` and `code`, and with `match` only those
    whose text matches the regular expression, are of this `error_class`; `action` tells people what
    to do. See `errors.yaml` for the sources and the codes known already."""

    model_config = ConfigDict(extra="forbid")

    source: str
    code: int | None = None
    match: str = ""
    name: str = ""
    error_class: Literal["transient", "permanent"] = "transient"
    action: str = ""


class PandaSettings(BaseModel):
    """Section `panda` of a facility.

    `server` is the PanDA server, as https://host:port. `ca` is a file of certificates to trust
    (default: those of the machine).

    `auth` says who we are. `oidc`: an id token from `token_file`, or from the systemd credential
    `token_credential`, read again whenever it has changed, with `origin` as VO and role. With
    `refresh` a new one is got `refresh_before_s` before it expires; without, somebody else has to
    write it. From `warn_days` before the end on, the facility's check `panda` tells so.
    `x509_proxy`: the file `proxy`.

    Names of all that is made in PanDA begin with `prefix`: two daemons at one server need two.

    `queue` is the PanDA queue of the facility, `queues` names another one for some of its memory
    classes. Tasks carry `cloud`, `vo`, `working_group`, `label` (prodSourceLabel), `priority` and
    `processing_type`; a script's task runs `transformation`, which gives its parameters to a shell,
    and each of its jobs is tried `attempts` times by PanDA itself. `scripts_dir` and `env` are as in
    the sections `ssh` and `arc`.

    All tasks of the server are looked at together every `poll_s` seconds: those changed since the last
    look, from `overlap_s` before it on; every `count_s` also those that run, for their counters, and
    every `sweep_s` all that are open. `page` is the number of records that one answer may
    have.

    A submission whose answer was lost may still arrive for `settle_s`. A task that PanDA has taken and
    not refined after `refine_s` is told of, as is one in which nothing has changed for `stuck_h` hours. A
    command has `confirm_s` to be seen in the task's state. After `lost_s` a task that the
    server says it does not have is gone.

    `calls` calls to the server run at a time, each at most `timeout_s`. `monitor` is the URL of the
    monitor, for links. `errors` are lines put before the error table of the package; with `passive`
    the table only tells what it would have said.
    """

    model_config = ConfigDict(extra="forbid")

    server: str
    ca: Path | None = None

    auth: Literal["oidc", "x509_proxy"] = "oidc"
    token_file: Path | None = None
    token_credential: str = ""
    origin: str = "Rubin:production"
    refresh: RefreshSettings | None = None
    refresh_before_s: float = Field(default=86_400.0, gt=0)
    warn_days: float = Field(default=7.0, ge=0)
    proxy: Path | None = None

    prefix: str = Field(default="cmd", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,19}$")
    queue: str = Field(min_length=1)
    queues: dict[str, str] = Field(default_factory=dict)
    cloud: str = ""
    vo: str = "wlcg"
    working_group: str = "Rubin"
    label: str = "managed"
    processing_type: str = "panda"
    priority: int = Field(default=900, ge=0)
    transformation: str = "https://pandaserver-doma.cern.ch/trf/user/bash-c"
    attempts: int = Field(default=1, ge=1, le=50)
    scripts_dir: Path | None = None
    env: dict[str, str] = Field(default_factory=dict)

    poll_s: float = Field(default=60.0, gt=0)
    overlap_s: float = Field(default=7200.0, ge=0)
    count_s: float = Field(default=300.0, gt=0)
    sweep_s: float = Field(default=1800.0, gt=0)
    page: int = Field(default=5000, ge=1)
    settle_s: float = Field(default=180.0, ge=0)
    refine_s: float = Field(default=1800.0, ge=0)
    lost_s: float = Field(default=3600.0, ge=0)
    stuck_h: float = Field(default=12.0, gt=0)
    confirm_s: float = Field(default=1800.0, gt=0)

    calls: int = Field(default=4, ge=1, le=16)
    connect_s: float = Field(default=15.0, gt=0)
    timeout_s: float = Field(default=60.0, gt=0)
    monitor: str = ""
    errors: list[ErrorRule] = Field(default_factory=list)
    passive: bool = False
    stomp: StompSettings | None = None
    bps: BpsSettings = Field(default_factory=BpsSettings)

    _sure = field_validator("server")(sure_url)

    @model_validator(mode="after")
    def _is_whole(self) -> "PandaSettings":
        if self.auth == "x509_proxy":
            if self.proxy is None:
                raise ValueError("auth = 'x509_proxy' needs proxy")
        elif (self.token_file is None) == (not self.token_credential):
            raise ValueError("auth = 'oidc' needs either token_file or token_credential")
        if self.refresh is not None and self.token_file is None:
            raise ValueError("refresh needs token_file: there the new token is written")
        return self

    @property
    def scripts(self) -> ScriptSettings:
        """What the shared reading of script orders takes of these settings."""
        return ScriptSettings(scripts_dir=self.scripts_dir, env=self.env)

    def queue_for(self, memory_class: str) -> str:
        """The PanDA queue of a memory class of the facility."""
        return self.queues.get(memory_class, self.queue)

    def identity(self) -> str:
        """Names the server and who we are there: settings that agree in it share connections, looks
        and messages."""
        text = "\n".join(
            str(each)
            for each in (
                self.prefix,
                self.server,
                self.auth,
                self.token_file,
                self.token_credential,
                self.origin,
                self.proxy,
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]
