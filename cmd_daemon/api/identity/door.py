"""Who calls: by the Unix socket, by a client certificate, or by a bearer token."""

import getpass
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio

from cmd_daemon.api.errors import ApiError
from cmd_daemon.api.identity.caller import CERTIFICATE, SOCKET, Caller
from cmd_daemon.api.identity.roles import Role, role_of
from cmd_daemon.api.identity.settings import IdentitySection

Context = grpc.aio.ServicerContext[Any, Any]

ACTOR = "x-cmd-actor"
AUTHORIZATION = "authorization"
SUBJECT = "x509_subject"
"""The subject of a client certificate that was verified, as gRPC tells it (RFC 2253)."""


class Door:
    """Tells who calls. `async with` it: it may hold connections to an issuer."""

    def __init__(self, settings: IdentitySection) -> None:
        """Raises OSError or ssl.SSLError for authorities of the issuer that cannot be read, and
        ModuleNotFoundError if what checks tokens is not installed."""
        self._settings = settings
        self._stack = AsyncExitStack()
        self._tokens = None
        if settings.oidc is not None:
            from cmd_daemon.api.identity.keys import Keys
            from cmd_daemon.api.identity.tokens import Tokens

            oidc = settings.oidc
            keys = Keys(oidc.issuer, oidc.ca, oidc.timeout_s)
            self._stack.push_async_callback(keys.close)
            self._tokens = Tokens(oidc, keys)

    async def close(self) -> None:
        """End the connections to the issuer."""
        await self._stack.aclose()

    async def caller(self, context: Context) -> Caller:
        """Who calls. Raises ApiError if that is not proved."""
        metadata = dict(context.invocation_metadata() or ())
        if context.peer().startswith("unix:"):
            role = Role[self._settings.socket_role.upper()]
            return Caller(_claimed(metadata), SOCKET, role)
        security: Mapping[str, Iterable[bytes]] = context.auth_context()
        subject = b"".join(security.get(SUBJECT, ())).decode("utf-8", "replace")
        if subject and self._settings.certificates is not None:
            roles = self._settings.certificates.roles.by_role
            return Caller(subject[:200], CERTIFICATE, role_of([subject], roles), (subject,))
        if self._tokens is None or b"ssl" not in security.get("transport_security_type", ()):
            raise _nobody({}, "This port takes no callers.")
        oidc = self._settings.oidc
        assert oidc is not None
        login = {"issuer": oidc.issuer, "client_id": oidc.client_id, "scope": oidc.scope}
        login["audience"] = oidc.audience[0]
        kind, _, token = str(metadata.get(AUTHORIZATION, "")).partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise _nobody(
                login, "The call has no token. Get one with cm login, or give CM_TOKEN_FILE."
            )
        return await self._tokens.caller(token.strip())


def _nobody(metadata: dict[str, str], message: str) -> ApiError:
    return ApiError(grpc.StatusCode.UNAUTHENTICATED, "NO_CREDENTIALS", message, metadata)


def _claimed(metadata: Mapping[str, str | bytes]) -> str:
    """Who calls, as the client says. On the Unix socket its permissions are the lock (gRPC does not tell
    the peer's user); the name is for the history."""
    value = metadata.get(ACTOR, "")
    cleaned = "".join(c for c in value if c.isprintable())[:100] if isinstance(value, str) else ""
    return cleaned.strip() or getpass.getuser()
