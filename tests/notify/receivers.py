"""A receiver of notices on loopback: an SMTP server that writes down what comes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Mailbox:
    """What an SMTP server has taken."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keep the mail."""
        self.mails.append(envelope)
        return "250 OK"

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        """Only `pilot` with the word `secret` may."""
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        known = (data.login, data.password) == (b"pilot", b"secret")
        return AuthResult(success=known, handled=False)


class OnFreePort(Controller):  # type: ignore[misc]
    """A controller that learns its port before it asks itself whether it is there."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(box: Mailbox, tls: Any = None) -> Iterator[int]:
    """An SMTP server on a free port; with `tls` (a server's SSL context) it wants STARTTLS and a login."""
    guarded: dict[str, Any] = {}
    if tls is not None:
        guarded = {
            "tls_context": tls,
            "require_starttls": True,
            "auth_required": True,
            "authenticator": box.authenticate,
        }
    controller = OnFreePort(box, hostname="127.0.0.1", port=0, **guarded)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop(no_assert=True)
