"""The keys an issuer signs with: its discovery document and key set, kept and fetched anew.

OpenID Connect Discovery 1.0, section 4; RFC 7517 for the key set.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
import structlog

from cmd_daemon.api.errors import ApiError

log = structlog.get_logger()

FRESH_S = 3600.0
"""Seconds after which the keys are fetched again: a key that was withdrawn is not trusted for longer."""

STALE_S = 86_400.0
"""Seconds for which keys are still used while the issuer cannot be reached."""

PAUSE_S = 10.0
"""Seconds between two fetches: tokens with made-up keys must not make us press the issuer."""

LARGEST = 1024 * 1024

ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""With a secret that both sides share, whoever can check a token can make one."""


class Keys:
    """The key set of one issuer."""

    def __init__(
        self,
        issuer: str,
        ca: Path | None,
        timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ca`: PEM file of authorities to trust, the system's if None. Raises OSError or
        ssl.SSLError if it cannot be read."""
        self._issuer = issuer
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        self._http = httpx.AsyncClient(verify=context, timeout=timeout_s)
        self._monotonic = monotonic
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._tried = float("-inf")
        self._problem = ""
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """End the connections to the issuer."""
        await self._http.aclose()

    async def key(self, kid: str) -> jwt.PyJWK:
        """The key of this id. Raises ApiError UNKNOWN_KEY or ISSUER_UNREACHABLE."""
        now = self._monotonic()
        if kid not in self._keys or now - self._fetched > FRESH_S:
            async with self._turn:
                now = self._monotonic()
                wanted = kid not in self._keys or now - self._fetched > FRESH_S
                if wanted and now - self._tried > PAUSE_S:
                    self._tried = now
                    await self._fetch()
        age = self._monotonic() - self._fetched
        if age > STALE_S:
            raise ApiError(
                grpc.StatusCode.UNAVAILABLE,
                "ISSUER_UNREACHABLE",
                f"The keys of the issuer {self._issuer} cannot be had ({self._problem}), so no token can "
                "be checked now. Try again later; on the daemon's machine the Unix socket works.",
                {"issuer": self._issuer},
            )
        found = self._keys.get(kid)
        if found is None:
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "UNKNOWN_KEY",
                f"The token is signed with the key {kid[:100]!r}, which the issuer {self._issuer} does "
                "not have. Get a new token: cm login.",
                {"issuer": self._issuer},
            )
        return found

    async def _fetch(self) -> None:
        try:
            document = await self._get(
                f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            )
            told = document.get("issuer")
            if told != self._issuer:
                raise ValueError(f"its discovery document is that of {str(told)[:200]!r}")
            place = str(document["jwks_uri"])
            if self._issuer.startswith("https:") and not place.startswith("https:"):
                raise ValueError("its jwks_uri is not an https URL")
            entries = (await self._get(place)).get("keys", [])
            keys = dict(filter(None, map(_usable, entries)))
            if not keys:
                raise ValueError("its key set has no key to sign with")
        except (httpx.HTTPError, ValueError, KeyError, AttributeError, TypeError) as error:
            self._problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            log.warning("the issuer's keys cannot be had", issuer=self._issuer, why=self._problem)
            return
        if set(keys) != set(self._keys):
            log.info("the issuer's keys", issuer=self._issuer, keys=sorted(keys))
        self._keys, self._fetched, self._problem = keys, self._monotonic(), ""

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._http.stream("GET", url) as answer:
            answer.raise_for_status()
            body = b""
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise ValueError(f"{url} is larger than {LARGEST} bytes")
        document: dict[str, Any] = httpx.Response(200, content=body).json()
        return document


def _usable(entry: dict[str, Any]) -> tuple[str, jwt.PyJWK] | None:
    """A key to check signatures with, and its id; None for another one."""
    if entry.get("use", "sig") != "sig" or not entry.get("kid"):
        return None
    try:
        key = jwt.PyJWK(entry)
    except jwt.PyJWTError:
        return None
    return (str(entry["kid"]), key) if key.algorithm_name in ASYMMETRIC else None
