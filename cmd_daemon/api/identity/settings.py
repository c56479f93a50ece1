"""The sections `[listen.NAME]` and `[identity]` of the configuration."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cmd_daemon.api.identity.roles import Role
from cmd_daemon.sections import Duration, Memory, Section

LOOPBACK = ("127.0.0.1", "::1", "localhost")

Texts = Annotated[
    list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]


def _plain(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK


class ListenSection(Section):
    """`[listen.NAME]`: a TCP port, always with TLS.

    `certificate` and `key` are PEM files of the server, read again when they change. `clients` says
    how callers prove who they are: `tokens` of `[identity.oidc]`, or `certificates` signed by an
    authority in the PEM file `client_ca`.
    """

    address: str
    certificate: Path | None = None
    key: Path | None = None
    clients: Literal["tokens", "certificates"] | None = None
    client_ca: Path | None = None

    @field_validator("address")
    @classmethod
    def _is_host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65_535:
            raise ValueError("write host:port, such as 0.0.0.0:7443 or [::]:7443")
        return value

    @model_validator(mode="after")
    def _is_safe(self) -> "ListenSection":
        if self.certificate is None or self.key is None:
            raise ValueError(
                "a TCP port is served with TLS only: give the PEM files certificate and key"
            )
        if self.clients is None:
            raise ValueError(
                "a TCP port is not open to everybody: give clients = 'tokens' (with the section "
                "identity.oidc) or clients = 'certificates' (with client_ca and identity.certificates)"
            )
        if (self.clients == "certificates") != (self.client_ca is not None):
            raise ValueError("client_ca goes with clients = 'certificates', and only with it")
        return self


class RolesSection(Section):
    """`[....roles]`: who has which role; the highest counts."""

    viewer: Texts = Field(default_factory=list)
    pilot: Texts = Field(default_factory=list)
    admin: Texts = Field(default_factory=list)

    @property
    def by_role(self) -> Mapping[Role, list[str]]:
        """The same by role."""
        return {Role.VIEWER: self.viewer, Role.PILOT: self.pilot, Role.ADMIN: self.admin}

    @model_validator(mode="after")
    def _gives_some(self) -> "RolesSection":
        if not (self.viewer or self.pilot or self.admin):
            raise ValueError("gives nobody a role: list viewer, pilot or admin")
        return self


class OidcSection(Section):
    """`[identity.oidc]`: bearer tokens of an OpenID Connect issuer.

    A token is taken if the issuer signed it, its issuer is `issuer` to the letter, one of `audience` is in
    it, and it is not over by more than `leeway_s`. `who_claims`: the first that a token has
    is the caller's name. `groups_claims`: all are read. `roles` maps groups to roles. `client_id` and
    `scope` are what `cm login` asks for a token with.
    """

    issuer: str
    audience: Texts = Field(min_length=1)
    roles: RolesSection
    ca: Path | None = None
    who_claims: Texts = Field(default_factory=lambda: ["preferred_username", "sub"], min_length=1)
    groups_claims: Texts = Field(default_factory=lambda: ["groups", "wlcg.groups"], min_length=1)
    leeway_s: float = Field(default=30.0, ge=0, le=300)
    timeout_s: Duration = 10.0
    client_id: str = ""
    scope: str = "openid profile offline_access"

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        parts = urlsplit(value)
        if not (parts.scheme == "https" and parts.hostname) and not _plain(value):
            raise ValueError("must be an https URL; plain http only for this machine")
        if parts.username or parts.password:
            raise ValueError("holds a user or a password")
        return value


class CertificatesSection(Section):
    """`[identity.certificates]`: `roles` maps subjects of client certificates to roles, to the letter, as
    `openssl x509 -noout -subject -nameopt RFC2253` prints them."""

    roles: RolesSection


class LimitsSection(Section):
    """`[identity.limits]`: for each caller: `calls` and `watchers` (streams) at a time; and the size of a
    `message` to the daemon."""

    calls: int = Field(default=200, ge=1)
    watchers: int = Field(default=100, ge=1)
    message: Memory = 4 * 1024 * 1024


class IdentitySection(Section):
    """`[identity]`: who calls and what they may do.

    Whoever may open the Unix socket has the role `socket_role`. With `owners_only`, campaigns and
    schedules are changed by their owners and by admins only.
    """

    socket_role: Literal["viewer", "pilot", "admin"] = "admin"
    owners_only: bool = False
    oidc: OidcSection | None = None
    certificates: CertificatesSection | None = None
    limits: LimitsSection = Field(default_factory=LimitsSection)


def check(listen: Mapping[str, ListenSection], identity: IdentitySection) -> None:
    """Raise ValueError for a port whose callers could not prove who they are."""
    for name, section in listen.items():
        if section.clients == "tokens" and identity.oidc is None:
            raise ValueError(f"listen.{name}: clients = 'tokens' needs the section identity.oidc")
        if section.clients == "certificates" and identity.certificates is None:
            raise ValueError(
                f"listen.{name}: clients = 'certificates' needs the section identity.certificates"
            )
