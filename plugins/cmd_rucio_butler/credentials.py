"""Credentials that somebody else renews: until when they are good, and the error when they are not.

Signatures are not looked at: that is for the server. What cannot be read is taken to be good, so that the
server's own words are told.
"""

import base64
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

from cmd_daemon.hooks import DriverError, ErrorClass


class Expired(Exception):
    """A credential is good no more; the message says which, where, and since when."""


def read_secret(path: Path | None, name: str, facility: str) -> str:
    """The text of a file. Raises DriverError PERMANENT if it cannot be read or is empty."""
    where = f"facility {facility}: section 'rucio': {name}"
    try:
        text = path.read_text().strip() if path is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise DriverError(ErrorClass.PERMANENT, f"{where} cannot be read: {error}") from error
    if not text:
        raise DriverError(ErrorClass.PERMANENT, f"{where} {path} is empty")
    return text


def read_token(path: Path, facility: str) -> str:
    """The token in a file. Raises Expired, and DriverError as `read_secret`."""
    token = read_secret(path, "token_file", facility)
    _check(f"the token in {path}", token_end(token), facility)
    return token


def check_proxy(path: Path, facility: str) -> None:
    """Raises Expired if a proxy, or a certificate it stands on, is; DriverError as `read_secret`."""
    _check(f"the proxy {path}", proxy_end(read_secret(path, "proxy", facility)), facility)


def _check(what: str, end: datetime | None, facility: str) -> None:
    if end is not None and end <= datetime.now(UTC):
        raise Expired(f"facility {facility}: {what} has expired on {end:%Y-%m-%d %H:%M:%S} UTC")


def token_end(token: str) -> datetime | None:
    """Until when a JSON web token is good; None if it does not say so."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    return None


def proxy_end(text: str) -> datetime | None:
    """Until when all certificates of a PEM text are good; None if there are none, or nobody can read them."""
    try:
        from cryptography import x509  # heavy, and needed for proxies only
    except ImportError:
        return None
    with contextlib.suppress(ValueError):
        certificates = x509.load_pem_x509_certificates(text.encode())
        return min(each.not_valid_after_utc for each in certificates)
    return None
