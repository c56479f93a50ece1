"""Who we are at PanDA: an id token, or an X.509 proxy, and how long it will do.

The token stands in one header and nowhere else: in no message, no log, no command line.
"""

import asyncio
import base64
import json
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import structlog

from cmd_panda.faults import Kind, PandaFault
from cmd_panda.settings import PandaSettings, RefreshSettings

AGAIN_S = 60.0
"""Seconds between two tries to get a new token."""

DAY_S = 86_400.0
Stamp = tuple[int, int, int]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Standing:
    """How long a credential will do: `ends_at` in seconds UTC (None: it does not tell), and whether
    it is over or will be soon, with words for people."""

    ends_at: float | None
    expired: bool = False
    soon: bool = False
    message: str = ""


class Identity:
    """The credential of one server. Files are read again when they have changed."""

    def __init__(self, settings: PandaSettings, now: Callable[[], int]) -> None:
        self._settings = settings
        self._now = now
        self._there = f"the PanDA server {settings.server}"
        self._stamp: Stamp | None = None
        self._token = ""
        self._ends_at: float | None = None
        self._issued_at: float | None = None
        self._tried_at = 0.0
        self._refreshing = asyncio.Lock()
        self._problem = ""

    @property
    def file(self) -> Path:
        """The file with the credential. Raises PandaFault if a systemd credential is not there."""
        settings = self._settings
        if settings.auth == "x509_proxy":
            assert settings.proxy is not None
            return settings.proxy
        if settings.token_file is not None:
            return settings.token_file
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise PandaFault(
                Kind.CREDENTIAL,
                f"{self._there}: there is no systemd credential '{settings.token_credential}': the "
                "daemon's unit must load it",
            )
        return Path(folder) / settings.token_credential

    async def headers(self) -> dict[str, str]:
        """What a request carries. Raises PandaFault CREDENTIAL if there is no token that is valid."""
        if self._settings.auth == "x509_proxy":
            return {}
        await asyncio.to_thread(self._read)
        await self._refresh_early()
        if self._ends_at is not None and self._ends_at <= self._seconds():
            raise PandaFault(Kind.CREDENTIAL, self._words(self._ends_at, "has expired"))
        return {"Authorization": f"Bearer {self._token}", "Origin": self._settings.origin}

    async def trust(self) -> ssl.SSLContext:
        """Strict TLS: the certificates of `ca`, or of this machine, and the proxy where we have one."""
        settings = self._settings

        def made() -> ssl.SSLContext:
            context = ssl.create_default_context(cafile=settings.ca and str(settings.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if settings.auth == "x509_proxy":
                context.load_cert_chain(self.file)
            return context

        try:
            return await asyncio.to_thread(made)
        except (OSError, ssl.SSLError) as error:
            raise PandaFault(
                Kind.CREDENTIAL, f"the certificates for {self._there} cannot be used: {error}"
            ) from error

    def stamps(self) -> tuple[Stamp, ...]:
        """When the files of trust and proxy were changed: another answer needs another connection.
        Raises PandaFault."""
        settings = self._settings
        files = [settings.ca] + ([self.file] if settings.auth == "x509_proxy" else [])
        return tuple(self._stamp_of(file) for file in files if file is not None)

    async def standing(self) -> Standing:
        """How long the credential will do. Never raises for a bad one, but tells so."""
        try:
            if self._settings.auth == "x509_proxy":
                ends_at: float | None = await asyncio.to_thread(_proxy_ends_at, self.file)
            else:
                await asyncio.to_thread(self._read)
                await self._refresh_early()
                ends_at = self._ends_at
        except PandaFault as fault:
            return Standing(None, expired=True, message=str(fault))
        except (OSError, ValueError) as error:
            words = f"the proxy {self.file} for {self._there} cannot be read: {error}"
            return Standing(None, expired=True, message=words)
        if ends_at is None:
            return Standing(None)
        left = ends_at - self._seconds()
        if left <= 0:
            return Standing(ends_at, expired=True, message=self._words(ends_at, "has expired"))
        if left <= self._settings.warn_days * DAY_S:
            words = self._words(ends_at, f"expires in {_span(left)}")
            return Standing(ends_at, soon=True, message=f"{words}{self._problem}")
        return Standing(ends_at)

    # ---- the token

    def _seconds(self) -> float:
        return self._now() / 1e6

    def _words(self, ends_at: float, what: str) -> str:
        at = datetime.fromtimestamp(ends_at, UTC).strftime("%Y-%m-%d %H:%M")
        name = "proxy" if self._settings.auth == "x509_proxy" else "id token"
        return f"the {name} for {self._there} {what} ({at} UTC); put a new one into {self.file}"

    def _stamp_of(self, file: Path) -> Stamp:
        try:
            stat = file.stat()
        except OSError as error:
            raise PandaFault(
                Kind.CREDENTIAL, f"the credential for {self._there} cannot be read: {error}"
            ) from error
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _read(self) -> None:
        """Read the token if its file has changed. Raises PandaFault CREDENTIAL."""
        file = self.file
        stamp = self._stamp_of(file)
        if stamp == self._stamp:
            return
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            kind = type(error).__name__
            raise PandaFault(
                Kind.CREDENTIAL, f"the id token in {file} for {self._there} cannot be read: {kind}"
            ) from None
        if not token or any(char.isspace() for char in token):
            raise PandaFault(
                Kind.CREDENTIAL, f"the file {file} for {self._there} holds no id token"
            )
        self._take(token)
        self._stamp = stamp

    def _take(self, token: str) -> None:
        self._token = token
        claims = _claims(token)
        self._ends_at = _number(claims.get("exp"))
        self._issued_at = _number(claims.get("iat"))

    # ---- a new one before it ends

    def _is_early(self) -> bool:
        """Whether it is time: `refresh_before_s` before the end, a third of the life for short ones."""
        if self._ends_at is None:
            return False
        before = self._settings.refresh_before_s
        if self._issued_at is not None and self._ends_at > self._issued_at:
            before = min(before, (self._ends_at - self._issued_at) / 3)
        return self._ends_at - self._seconds() <= before

    async def _refresh_early(self) -> None:
        """Get a new token if it is time. One that cannot be got is told of, and tried again."""
        settings = self._settings.refresh
        if settings is None or not self._is_early():
            return
        async with self._refreshing:
            now = self._seconds()
            if not self._is_early() or now - self._tried_at < AGAIN_S:
                return
            self._tried_at = now
            try:
                await self._refresh(settings)
            except (httpx.HTTPError, OSError, ValueError, ssl.SSLError) as error:
                # The words of an answer may hold what was sent: only what kind of error it was.
                words = str(error) if isinstance(error, _Unrefreshed) else type(error).__name__
                self._problem = f"; no new token from {settings.token_url}: {words}"
                log.warning("id token not refreshed", issuer=settings.token_url, problem=words)
            else:
                self._problem = ""
                log.info("id token refreshed", issuer=settings.token_url, ends_at=self._ends_at)

    async def _refresh(self, settings: RefreshSettings) -> None:
        held = (await asyncio.to_thread(settings.token_file.read_text)).strip()
        form = {
            "grant_type": "refresh_token",
            "refresh_token": held,
            "client_id": settings.client_id,
            "scope": settings.scope,
        }
        if settings.client_secret_file is not None:
            secret = await asyncio.to_thread(settings.client_secret_file.read_text)
            form["client_secret"] = secret.strip()
        trust = ssl.create_default_context()
        if self._settings.ca is not None:
            trust.load_verify_locations(cafile=self._settings.ca)
        async with httpx.AsyncClient(
            verify=trust, trust_env=False, timeout=self._settings.timeout_s
        ) as client:
            answer = await client.post(settings.token_url, data=form)
        told = answer.json() if answer.is_success else {}
        token = told.get("id_token") if isinstance(told, dict) else None
        if not isinstance(token, str) or not token:
            raise _Unrefreshed(f"answered {answer.status_code} without an id token")
        renewed = told.get("refresh_token")
        if isinstance(renewed, str) and renewed and renewed != held:
            await asyncio.to_thread(_write_secret, settings.token_file, renewed)
        await asyncio.to_thread(_write_secret, self.file, token)
        self._take(token)
        self._stamp = await asyncio.to_thread(self._stamp_of, self.file)


class _Unrefreshed(ValueError):
    """The issuer gave no new token; the message holds no secret."""


def _write_secret(path: Path, text: str) -> None:
    """Replace a file that only we may read, at once and for good."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)


def _claims(token: str) -> dict[str, Any]:
    """What a token says of itself; nobody has verified it. Empty for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        text = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = json.loads(text)
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _span(seconds: float) -> str:
    return f"{seconds / DAY_S:.1f} days" if seconds >= DAY_S else f"{seconds / 3600:.1f} hours"


def _proxy_ends_at(file: Path) -> float:
    """When the first of a proxy's certificates ends. Raises OSError or ValueError."""
    from cryptography import x509

    certificates = x509.load_pem_x509_certificates(file.read_bytes())
    return min(each.not_valid_after_utc.timestamp() for each in certificates)
