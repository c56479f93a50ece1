"""The settings of the driver `rucio` at one facility: its Rucio server, its RSE, and how rules are made."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo, Host
from cmd_local.moving.settings import MoverSettings
from cmd_rucio_butler.inputs import fields

NAME = "rucio"


class StompSettings(BaseModel):
    """Table `stomp` of the section: the broker to which the outside system's own messages go. They
    only make the next look at it come sooner. `destination` is the queue or topic."""

    model_config = ConfigDict(extra="forbid")

    host: str
    port: int = Field(default=61613, ge=1, le=65535)
    destination: str
    username: str = ""
    password_file: Path | None = None


class KafkaSettings(BaseModel):
    """Table `kafka` of the section: the brokers of Rubin's patched Hermes, also only for hints. `topics`
    are names, or patterns that begin with ^; without them all topics that end with the facility's
    scopes. `group` begins the name of our group. `options` are the library's own
    (`security.protocol` and so on); `password_file` has its `sasl.password`."""

    model_config = ConfigDict(extra="forbid")

    brokers: list[str] = Field(min_length=1)
    topics: list[str] = Field(default_factory=list)
    group: str = "cmd-daemon"
    options: dict[str, str] = Field(default_factory=dict)
    password_file: Path | None = None


class ScopeSettings(BaseModel):
    """Table `scopes.NAME`: where the files of another scope lie at the facility: the RSE to which they
    are brought, and the directory of that scope's files there."""

    model_config = ConfigDict(extra="forbid")

    rse: str
    root: Path


class RucioSettings(BaseModel):
    """Section `rucio` of a facility.

    `server` (and `auth_server`, if it is another one) are URLs, `account` is the Rucio account.
    `auth` says which credentials are used: `username` with `password_file`, the file `proxy` of an
    X.509 proxy, or `token_file`, read again whenever it has changed. `ca` is a file or directory of
    certificates to trust.

    `rse` is the storage element behind the facility's Butler, `scope` that of the files. A file's
    name in Rucio is `prefix` with its path below `root`, a directory at the facility (default: the
    root of the Butler's datastore); the same name is the same path at each facility.

    Rules get `activity`, `priority` and, if given, `lifetime_s`; above `async_above` files they are
    made by Rucio in the background. A rule that is stuck is boosted `boosts` times, the first time
    after `boost_s` seconds, each further time after twice as long. All rules of a server are looked
    at together every `poll_s` seconds. With `pin_s` a rule of that lifetime holds the files at
    their source until the movement is verified: only for RSEs whose files Rucio itself never deletes.

    Types that match one of the patterns `bundle` go as Butler zips of at most `bundle_members` datasets
    and `bundle_bytes`. Archives go to a tape RSE by a rule; with `archive_metadata` instead the
    dataset is closed and gets these pairs, and counts as archived once its metadata match the regular
    expressions of `archive_evidence`.

    `inputs` says which datasets hold inputs that are in Rucio already: dataset types to patterns of
    names, with dimensions in braces, `*` for anything, and `SCOPE:` before it if it is another one.
    A group whose data query fixes these dimensions is placed by where such datasets are: at `rse`, at
    those of `scopes` and at `input_rses`, further RSEs of the facility. A stage brings them to where
    the facility has their scope: `rse` and `root` for `scope` itself, else what `scopes` says.

    `threads` calls to the server run at a time, each at most `timeout_s`; a server that does not answer
    is tried again for `patience_s`. `chunk` files are declared in one call, `page` datasets go into
    one question to an agent, which has `agent_timeout_s`. Outcomes are remembered for `keep_days`.
    """

    model_config = ConfigDict(extra="forbid")

    server: str
    auth_server: str = ""
    account: str
    auth: Literal["userpass", "x509_proxy", "oidc"] = "userpass"
    username: str = ""
    password_file: Path | None = None
    proxy: Path | None = None
    token_file: Path | None = None
    ca: Path | None = None

    rse: str
    scope: str
    root: Path | None = None
    prefix: str = Field(default="", pattern=r"^([A-Za-z0-9][/A-Za-z0-9._-]*/)?$")

    activity: str = "Production Output"
    priority: int = Field(default=3, ge=1, le=5)
    lifetime_s: int | None = Field(default=None, gt=0)
    async_above: int = Field(default=2000, ge=0)
    boosts: int = Field(default=3, ge=0)
    boost_s: float = Field(default=300.0, ge=0)
    poll_s: float = Field(default=60.0, gt=0)
    pin_s: int = Field(default=0, ge=0)

    bundle: list[str] = Field(default_factory=list)
    bundle_members: int = Field(default=2000, ge=1)
    bundle_bytes: ByteSize = Field(default=ByteSize(4 * 1024**3), gt=0)
    archive_metadata: dict[str, str] = Field(default_factory=dict)
    archive_evidence: dict[str, str] = Field(default_factory=dict)

    inputs: dict[str, str] = Field(default_factory=dict)
    input_rses: list[str] = Field(default_factory=list)
    scopes: dict[str, ScopeSettings] = Field(default_factory=dict)

    threads: int = Field(default=3, ge=1, le=8)
    timeout_s: float = Field(default=60.0, gt=0)
    patience_s: float = Field(default=300.0, ge=0)
    chunk: int = Field(default=1000, ge=1, le=1000)
    page: int = Field(default=500, ge=1, le=10_000)
    agent_timeout_s: float = Field(default=300.0, gt=0)
    keep_days: float = Field(default=30.0, gt=0)
    stomp: StompSettings | None = None
    kafka: KafkaSettings | None = None

    _facility: str = PrivateAttr("?")

    @field_validator("server", "auth_server")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must be a URL that begins with http:// or https://")
        return value.rstrip("/")

    @field_validator("inputs")
    @classmethod
    def _are_patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value.values():
            fields(pattern)
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> "RucioSettings":
        needed = {
            "userpass": (("username", self.username), ("password_file", self.password_file)),
            "x509_proxy": (("proxy", self.proxy),),
            "oidc": (("token_file", self.token_file),),
        }[self.auth]
        lacking = [name for name, value in needed if not value]
        if lacking:
            raise ValueError(f"auth = '{self.auth}' needs {' and '.join(lacking)}")
        if self.archive_metadata and not self.archive_evidence:
            raise ValueError("archive_metadata needs archive_evidence: what shows that it is done")
        return self

    @property
    def facility(self) -> str:
        """The facility whose settings these are, for people."""
        return self._facility

    def of(self, facility: str) -> "RucioSettings":
        """The same settings, as those of a facility."""
        copy = self.model_copy()
        copy._facility = facility
        return copy

    @property
    def rses(self) -> tuple[str, ...]:
        """All RSEs of the facility, each once, that of its Butler first."""
        others = (each.rse for each in self.scopes.values())
        return tuple(dict.fromkeys((self.rse, *others, *self.input_rses)))

    @property
    def moving(self) -> MoverSettings:
        """What the shared parts of data movement take of these settings."""
        return MoverSettings(
            timeout_s=self.agent_timeout_s,
            patience_s=self.patience_s,
            page=self.page,
            bundle_members=self.bundle_members,
            bundle_bytes=self.bundle_bytes,
            keep_days=self.keep_days,
        )

    def identity(self) -> str:
        """Names the server with the account and credentials: settings that agree in it share
        connections and looks."""
        text = "\n".join(
            str(each)
            for each in (
                self.server,
                self.auth_server,
                self.account,
                self.auth,
                self.username,
                self.password_file,
                self.proxy,
                self.token_file,
            )
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def rucio_settings(facility: FacilityInfo) -> RucioSettings:
    """The validated section `rucio` of a facility. Raises DriverError PERMANENT if there is none or
    it is wrong."""
    section = facility.settings.get(NAME)
    if section is None:
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name} has no section '{NAME}' in its settings: nobody knows its RSE",
        )
    try:
        return RucioSettings.model_validate(section).of(facility.name)
    except ValidationError as error:
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name}: section '{NAME}' of its settings is wrong: {error}",
        ) from error


def settings_at(host: Host, facility: str) -> RucioSettings:
    """The settings at a facility by its name. Raises DriverError PERMANENT."""
    try:
        return rucio_settings(host.facility(facility))
    except KeyError:
        raise DriverError(
            ErrorClass.PERMANENT, f"there is no facility '{facility}' in the configuration"
        ) from None
