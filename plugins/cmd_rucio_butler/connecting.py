"""Making a client of the Rucio server: the library, credentials and tokens."""

import logging
from pathlib import Path
from typing import Any

from cmd_daemon.hooks import DriverError, ErrorClass
from cmd_rucio_butler.credentials import check_proxy, read_secret, read_token
from cmd_rucio_butler.settings import RucioSettings

LOG = logging.getLogger("cmd_rucio_butler.client")


def make_client(settings: RucioSettings, tokens: Path) -> Any:
    """A client of `rucio.client`, for one thread; `tokens` is a directory of ours for its tokens.

    Raises DriverError PERMANENT where the library or a credential is missing, and whatever the
    client raises when it first asks the server.
    """
    try:
        from rucio.client import Client  # heavy, and not everybody's
    except ImportError as error:
        raise DriverError(
            ErrorClass.PERMANENT,
            "the driver 'rucio' needs the package rucio-clients: install cmd-daemon[rucio] "
            f"({error})",
        ) from error

    token_file = settings.token_file if settings.auth == "oidc" else None
    proxy = settings.proxy if settings.auth == "x509_proxy" else None
    facility = settings.facility

    class OurClient(Client):  # type: ignore[misc]
        """Keeps its token where we say, and takes an OIDC token from its file again and again."""

        def _get_auth_tokens(self) -> tuple[str, str, str, str]:
            if token_file is not None:
                read_secret(token_file, "token_file", facility)
                return str(token_file), "", str(token_file), str(token_file.parent)
            path = tokens / settings.identity()
            return str(path), f"{path}.expires", str(path), str(tokens)

        def _send_request(self, *args: Any, **kwargs: Any) -> Any:
            if token_file is not None:
                # Whoever renews the token writes the file anew; asking for one here would end in
                # a question to a person.
                self.auth_token = read_token(token_file, facility)
                kwargs["get_token"] = True
            elif proxy is not None and kwargs.get("cert") is not None:
                # An expired one would only make the server hang up.
                check_proxy(proxy, facility)
            answer = super()._send_request(*args, **kwargs)
            if token_file is not None and answer is not None and answer.status_code == 401:
                from rucio.common.exception import CannotAuthenticate

                raise CannotAuthenticate(
                    f"facility {facility}: the token in {token_file} is not valid (any more)"
                )
            return answer

    return OurClient(
        rucio_host=settings.server,
        auth_host=settings.auth_server or settings.server,
        account=settings.account,
        auth_type=settings.auth,
        creds=_credentials(settings),
        ca_cert=str(settings.ca) if settings.ca else None,
        timeout=settings.timeout_s,
        user_agent="cmd-daemon",
        logger=LOG,
    )


def _credentials(settings: RucioSettings) -> dict[str, Any]:
    if settings.auth == "userpass":
        password = read_secret(settings.password_file, "password_file", settings.facility)
        return {"username": settings.username, "password": password}
    if settings.auth == "x509_proxy":
        read_secret(settings.proxy, "proxy", settings.facility)
        return {"client_proxy": str(settings.proxy)}
    return {}
