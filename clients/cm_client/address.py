"""Where the daemon is, and who calls: the one place where channels are made."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from .credentials import Credentials

SOCKET = "cmd-daemon/cmd.sock"
ACTOR_KEY = "x-cmd-actor"
TOKEN_KEY = "authorization"

# A restarted daemon is found again within a second, not after gRPC's default of up to two minutes.
# A refused campaign file brings all its problems as details of the status, which is metadata.
# The receive limit leaves room for the plan of a large campaign; everything else comes in pages.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
)


@dataclass(frozen=True, slots=True)
class Address:
    """A daemon's address (gRPC target: `unix:/path/cmd.sock`, or `host:port`, which is always TLS), the
    caller's name, and the proof of it."""

    target: str
    actor: str
    credentials: Credentials = field(default_factory=Credentials)

    @classmethod
    def find(
        cls,
        address: str | None = None,
        actor: str | None = None,
        environment: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
    ) -> "Address":
        """The address to use: as given, else $CM_ADDRESS, else the user's or the system's socket.

        The actor: as given, else $CM_ACTOR, else the login name. Raises ValueError if the actor
        has characters that cannot be sent (only printable ASCII can), or for credentials that cannot be used.
        """
        env = os.environ if environment is None else environment
        who = actor or env.get("CM_ACTOR") or _login()
        if not (who.isascii() and who.isprintable()):
            raise ValueError(f"the actor {who!r} has characters other than printable ASCII")
        target = address or env.get("CM_ADDRESS") or _default_target(env)
        return cls(target, who, credentials or Credentials.find(environment=env))

    @property
    def local(self) -> bool:
        """Whether it is a Unix socket: its permissions are the proof, and nothing leaves the machine."""
        return self.target.startswith("unix")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries beside its request. Raises ValueError for a token that cannot be sent."""
        token = "" if self.local else self.credentials.bearer()
        told = ((ACTOR_KEY, self.actor),)
        return (*told, (TOKEN_KEY, f"Bearer {token}")) if token else told

    def open_channel(self) -> grpc.Channel:
        """A channel for blocking calls. Connects at the first call."""
        if self.local:
            return grpc.insecure_channel(self.target, options=_OPTIONS)
        return grpc.secure_channel(self.target, self.credentials.for_channel(), options=_OPTIONS)

    def open_async_channel(self) -> grpc.aio.Channel:
        """A channel for the running event loop. Connects at the first call."""
        if self.local:
            return grpc.aio.insecure_channel(self.target, options=_OPTIONS)
        made = self.credentials.for_channel()
        return grpc.aio.secure_channel(self.target, made, options=_OPTIONS)


def _default_target(env: Mapping[str, str]) -> str:
    places = [Path("/run") / SOCKET]
    if env.get("XDG_RUNTIME_DIR"):
        places.insert(0, Path(env["XDG_RUNTIME_DIR"]) / SOCKET)
    found = next((place for place in places if place.exists()), places[0])
    return f"unix:{found}"


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as in some containers
        return f"uid-{os.getuid()}"
