"""Who asks: an issuer of tokens for tests, and the check of a token as PanDA makes it."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from panda_server.model.clock import Clock

VO = "Rubin"
CLIENT_ID = "test-client"
ISSUER = "https://issuer.invalid/"
# The text of a real server that gets a token without an Origin.
NO_ORIGIN = """\
Token decode failure. 'NoneType' object has no attribute 'replace' Traceback (most recent call last):
  File "/data/x", line 36, in decode_token
    vo_role = vo.replace(":", ".")
              ^^^^^^^^^^
AttributeError: 'NoneType' object has no attribute 'replace'
"""


class Issuer:
    """An OIDC issuer without a server: it signs id tokens. Its key may be kept in a file."""

    def __init__(self, key_file: Path | None = None) -> None:
        self._key_file = key_file

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        if self._key_file and self._key_file.exists():
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
            assert isinstance(key, rsa.RSAPrivateKey)
            return key
        key = rsa.generate_private_key(65537, 2048)
        if self._key_file:
            pem = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            text = key.private_bytes(serialization.Encoding.PEM, *pem)
            self._key_file.write_bytes(text)
            self._key_file.chmod(0o600)
        return key

    @cached_property
    def public_key(self) -> rsa.RSAPublicKey:
        """What the server checks tokens with."""
        return self._key.public_key()

    def token(
        self,
        clock: Clock,
        name: str = "Test User",
        nickname: str = "tuser",
        groups: tuple[str, ...] = ("Rubin",),
        lifetime_s: float = 14 * 86400,
    ) -> str:
        """An id token; `lifetime_s` counts on the model's clock and may be negative."""
        now = clock.wall().replace(tzinfo=UTC)
        claims = {
            "iss": ISSUER,
            "aud": CLIENT_ID,
            "sub": nickname,
            "name": name,
            "preferred_username": nickname,
            "groups": list(groups),
            "iat": now.timestamp(),
            "exp": int((now + timedelta(seconds=lifetime_s)).timestamp()),
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "test"})

    # The five stand-ins of the recordings.

    def user(self, clock: Clock) -> str:
        """Test User without a role."""
        return self.token(clock)

    def production(self, clock: Clock, lifetime_s: float = 14 * 86400) -> str:
        """The same person with the production role; to be sent with `Origin: Rubin:production`."""
        return self.token(clock, groups=("Rubin", "Rubin/production"), lifetime_s=lifetime_s)

    def other(self, clock: Clock) -> str:
        """Another user."""
        return self.token(clock, name="Other User", nickname="ouser")

    def expired(self, clock: Clock) -> str:
        """A token past its time."""
        return self.token(clock, lifetime_s=-60)

    def no_group(self, clock: Clock) -> str:
        """A token without the VO's group."""
        return self.token(clock, groups=())


@dataclass(frozen=True)
class Caller:
    """A person that the server knows."""

    name: str
    nickname: str
    production: bool

    @property
    def raw_dn(self) -> str:
        """The name as the server writes it into its own records."""
        return f"{self.name}/CN=nickname:{self.nickname}"


class Forbidden(Exception):
    """403, with a text that is not JSON."""


def identify(
    issuer: Issuer, clock: Clock, headers: dict[str, str], since: datetime | None = None
) -> Caller | None:
    """The caller of a request; None without a token, Forbidden with a bad one.

    Tokens issued before `since` count as expired."""
    token = headers.get("authorization", "").removeprefix("Bearer ")
    if not token:
        return None
    origin = headers.get("origin")
    if origin is None:
        raise _failed(NO_ORIGIN)
    vo, _, role = origin.partition(":")
    if vo != VO:
        raise _failed(f"Unknown vo : {origin}")
    checked = {"verify_exp": False, "verify_iat": False}
    try:
        claims = jwt.decode(
            token, issuer.public_key, ["RS256"], audience=CLIENT_ID, options=checked
        )
    except jwt.PyJWTError as problem:
        raise _failed(f"Invalid token. {problem}") from problem
    void = since is not None and claims["iat"] <= since.replace(tzinfo=UTC).timestamp()
    if void or claims["exp"] <= clock.wall().replace(tzinfo=UTC).timestamp():
        raise _failed("Invalid token. Signature has expired")
    for group in [f"{vo}/{role}"] if role else [vo]:
        if group not in claims["groups"]:
            raise _failed(f"Not a member of the {group} group")
    return Caller(claims["name"], claims["preferred_username"], role == "production")


def _failed(text: str) -> Forbidden:
    return Forbidden(f"Token authentication failed. {text}")
