"""Bearer tokens of an OpenID Connect issuer (RFC 7519, RFC 9068; Indigo IAM and WLCG profiles)."""

from typing import Any

import grpc
import jwt

from cmd_daemon.api.errors import ApiError
from cmd_daemon.api.identity.caller import TOKEN, Caller
from cmd_daemon.api.identity.keys import ASYMMETRIC, Keys
from cmd_daemon.api.identity.roles import role_of
from cmd_daemon.api.identity.settings import OidcSection

LARGEST = 32_768
NEW = "Get a new token: cm login."


class Tokens:
    """Checks tokens. Nothing of a token is told in an error or written to a log, but its claims'
    issuer, audience and key."""

    def __init__(self, settings: OidcSection, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys

    async def caller(self, token: str) -> Caller:
        """Who a token is for. Raises ApiError, with a reason for each way it can be wrong."""
        settings = self._settings
        header, claimed = _peek(token)
        # Unproved so far, and used for nothing but a clearer refusal: another issuer has other keys.
        if claimed.get("iss") != settings.issuer:
            told = str(claimed.get("iss") or "nobody")[:200]
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "WRONG_ISSUER",
                f"The token is from {told}; this daemon takes tokens of {settings.issuer}. {NEW}",
                {"issuer": settings.issuer},
            )
        key = await self._keys.key(str(header.get("kid", "")))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ASYMMETRIC else [],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", f"The token is over. {NEW}"
            ) from None
        except (jwt.InvalidAudienceError, jwt.MissingRequiredClaimError) as error:
            if isinstance(error, jwt.MissingRequiredClaimError) and error.claim != "aud":
                raise _bad(f"it has no claim {error.claim!r}") from None
            told = str(claimed.get("aud") or "nobody")[:200]
            raise ApiError(
                grpc.StatusCode.UNAUTHENTICATED,
                "WRONG_AUDIENCE",
                f"The token is meant for {told}, not for this daemon "
                f"({' or '.join(settings.audience)}). Ask the issuer for that audience: cm login does.",
                {"audience": settings.audience[0]},
            ) from None
        except jwt.PyJWTError as error:
            raise _bad(type(error).__name__) from None
        who = next(
            (v for c in settings.who_claims if isinstance(v := claims.get(c), str) and v.strip()),
            "",
        )
        if not who:
            raise _bad(f"it has none of the claims {', '.join(settings.who_claims)}")
        groups = _groups(claims, settings.groups_claims)
        return Caller(
            who="".join(c for c in who if c.isprintable())[:100].strip(),
            proof=TOKEN,
            role=role_of(groups, settings.roles.by_role),
            groups=groups,
            until=float(claims["exp"]) + settings.leeway_s,
        )


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token whose signature has not been looked at. Raises ApiError."""
    if len(token) > LARGEST:
        raise _bad(f"it is longer than {LARGEST} bytes")
    try:
        whole = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise _bad(type(error).__name__) from None
    return whole["header"], whole["payload"]


def _bad(why: str) -> ApiError:
    return ApiError(
        grpc.StatusCode.UNAUTHENTICATED, "BAD_TOKEN", f"The token cannot be used: {why}. {NEW}"
    )


def _groups(claims: dict[str, Any], names: list[str]) -> tuple[str, ...]:
    """The groups of a token, each once; those of WLCG begin with a slash, Indigo IAM's do not."""
    found: dict[str, None] = {}
    for name in names:
        value = claims.get(name)
        for group in value if isinstance(value, list) else [value]:
            if isinstance(group, str) and group:
                found[group] = None
    return tuple(found)
