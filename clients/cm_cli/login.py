"""Getting a token from an OpenID Connect issuer: device flow (RFC 8628) and refresh (RFC 6749, section 6).

The token is kept in a file of its own, so that any tool can read it; what renews it is beside it, in
`token.renew`. Only the person can read either.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

TIMEOUT_S = 20.0
SLOWER_S = 5.0
"""What an issuer that says `slow_down` wants (RFC 8628, section 3.5)."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class LoginError(Exception):
    """There is no token; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Token:
    """A new token was kept; `until` in UTC for people, empty if the issuer does not say."""

    until: str


class Issuer:
    """An issuer's endpoints. `with` it."""

    def __init__(self, url: str, client_id: str, scope: str, audience: str) -> None:
        self._url = _safe(url)
        self._client_id, self._scope, self._audience = client_id, scope, audience
        self._http = httpx.Client(timeout=TIMEOUT_S)
        self._known: dict[str, Any] = {}

    def __enter__(self) -> Self:
        told = self._ask("GET", f"{self._url.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != self._url:
            raise LoginError(
                f"{self._url} is not the issuer: it says that it is {str(told.get('issuer'))[:200]!r}."
            )
        self._known = told
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def renewed(self, file: Path) -> Token | None:
        """Renew the token in `file` without a browser; None if that cannot be. Raises LoginError if the
        issuer does not answer."""
        try:
            kept = json.loads(_beside(file).read_text(encoding="utf-8"))
            mine = kept["issuer"] == self._url and kept["client_id"] == self._client_id
            form = {"grant_type": "refresh_token", "refresh_token": str(kept["refresh_token"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not mine:
            return None
        told = self._ask("POST", self._endpoint("token_endpoint"), self._form(form))
        return self._keep(file, told, form["refresh_token"]) if "access_token" in told else None

    def by_device(self, file: Path, say: Callable[[str], None]) -> Token:
        """Have a person log in with a browser, and keep the token in `file`. Raises LoginError."""
        endpoint = self._endpoint("device_authorization_endpoint")
        device = self._ask("POST", endpoint, self._form({"scope": self._scope}))
        if "device_code" not in device:
            raise LoginError(f"{self._url} begins no login: {_why(device)}")
        say(f"Open {_safe(str(device['verification_uri']))} and type {device['user_code']}")
        if complete := device.get("verification_uri_complete"):
            say(f"or open {_safe(str(complete))}")
        pause = float(device.get("interval", 5))
        end = time.monotonic() + float(device.get("expires_in", 600))
        form = {"grant_type": DEVICE_GRANT, "device_code": str(device["device_code"])}
        while time.monotonic() < end:
            time.sleep(pause)
            told = self._ask("POST", self._endpoint("token_endpoint"), self._form(form))
            match told.get("error"):
                case None if "access_token" in told:
                    return self._keep(file, told, "")
                case "authorization_pending":
                    continue
                case "slow_down":
                    pause += SLOWER_S
                case _:
                    raise LoginError(f"{self._url} gives no token: {_why(told)}")
        raise LoginError("The code is over before you logged in. Begin again: cm login")

    def _form(self, form: dict[str, str]) -> dict[str, str]:
        audience = {"audience": self._audience} if self._audience else {}
        return {**form, "client_id": self._client_id, **audience}

    def _endpoint(self, name: str) -> str:
        found = self._known.get(name)
        if not isinstance(found, str):
            raise LoginError(f"{self._url} has no {name}: it cannot be logged in to like this.")
        return _safe(found)

    def _ask(self, verb: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """What it answers, refusals too. Raises LoginError for anything else than JSON."""
        try:
            answer = self._http.request(verb, url, data=form)
            told = answer.json()
            if not isinstance(told, dict) or answer.is_server_error:
                raise ValueError(f"it answers {answer.status_code}")
        except (httpx.HTTPError, ValueError) as error:
            raise LoginError(f"{self._url} cannot be asked: {error}") from None
        return told

    def _keep(self, file: Path, told: dict[str, Any], former: str) -> Token:
        until = ""
        if isinstance(seconds := told.get("expires_in"), int | float):
            until = f"{datetime.fromtimestamp(time.time() + seconds, UTC):%Y-%m-%d %H:%M} UTC"
        renew = told.get("refresh_token") or former
        try:
            _write(file, f"{told['access_token']}\n")
            if renew:
                kept = {"issuer": self._url, "client_id": self._client_id, "refresh_token": renew}
                _write(_beside(file), json.dumps(kept))
            else:
                _beside(file).unlink(missing_ok=True)
        except OSError as error:
            raise LoginError(f"{file} cannot be written: {error.strerror or error}") from None
        return Token(until)


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.renew")


def _write(file: Path, text: str) -> None:
    """Write a file that nobody else can read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _safe(url: str) -> str:
    """The URL. Raises LoginError for one over which a token must not go."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return url
    raise LoginError(f"{url[:200]!r} is no https URL: no login is sent there.")


def _why(told: dict[str, Any]) -> str:
    words = (str(told.get(name) or "") for name in ("error", "error_description"))
    return ": ".join(filter(None, words))[:300] or "no reason is given"
