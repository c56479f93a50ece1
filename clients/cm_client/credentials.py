"""How a client proves who it is on a TCP port, and whom it believes: tokens, certificates, authorities."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

TOKEN_FILE = Path("cmd-daemon") / "token"


@dataclass(frozen=True, slots=True)
class Credentials:
    """`ca`: PEM file of the authorities of the daemon's certificate, the system's if None. `certificate`
    and `key`: PEM files of the client's own. `token`, else the first line of `token_file`, which
    is read again at each call, goes along with each call on a TCP port, and never on a socket."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = field(default="", repr=False)
    token_file: Path | None = None

    @classmethod
    def find(
        cls,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        token_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> "Credentials":
        """Each as given, else $CM_CA, $CM_CERTIFICATE, $CM_KEY, $CM_TOKEN or $CM_TOKEN_FILE; the token
        else from the file that `cm login` writes. Raises ValueError for half a pair."""
        env = os.environ if environment is None else environment
        certificate = certificate or _path(env, "CM_CERTIFICATE")
        key = key or _path(env, "CM_KEY")
        if (certificate is None) != (key is None):
            raise ValueError("a client certificate and its key go together: give both")
        token = "" if token_file else env.get("CM_TOKEN", "").strip()
        file = token_file or _path(env, "CM_TOKEN_FILE") or kept_token(env)
        return cls(ca or _path(env, "CM_CA"), certificate, key, token, file)

    def bearer(self) -> str:
        """The token to send now; empty if there is none. Raises ValueError for one that cannot be sent."""
        token = self.token
        if not token and self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="utf-8").partition("\n")[0].strip()
            except FileNotFoundError:
                return ""
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(
                    f"the token file {self.token_file} cannot be read: {error}"
                ) from None
        if not (token.isascii() and token.isprintable()):
            raise ValueError("the token has characters that a token cannot have")
        return token

    def for_channel(self) -> grpc.ChannelCredentials:
        """TLS for a channel. Raises ValueError if a file cannot be read."""
        try:
            parts = [
                each.read_bytes() if each else None
                for each in (self.ca, self.key, self.certificate)
            ]
        except OSError as error:
            raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from None
        return grpc.ssl_channel_credentials(*parts)


def kept_token(environment: Mapping[str, str] | None = None) -> Path:
    """The file that `cm login` keeps the token in: below $XDG_CONFIG_HOME, else ~/.config."""
    env = os.environ if environment is None else environment
    home = env.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / TOKEN_FILE


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name, "")
    return Path(value).expanduser() if value else None
