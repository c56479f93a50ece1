"""Who may come in, and what a page may do in a browser.

The daemon's socket is kept by the permissions of a file; a port on the loopback interface is open
to everybody on the machine, and to every page that a browser has open. So: a key that only the
person who started `cm web` has (in the address that is printed, then in a cookie); the names under
which the server may be called (against DNS rebinding); the origin of each change, and a token in
its form (against other sites' forms); and no script but our own files.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
KEY = "key"
TOKEN = "token"
YEAR_S = 365 * 86_400

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""No inline script or style, nothing from elsewhere, not in a frame."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it a browser sends no origin with a form.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

LOCKED = """This dashboard belongs to the person who started it, and your browser has not shown its key.

Open the whole address that `cm web` printed when it was started; it ends with ?key=...
"""


class Guard:
    """Middleware before everything else. `names` are the hosts it may be called by, without port."""

    def __init__(self, app: ASGIApp, key: str, port: int, names: Collection[str]) -> None:
        self._app = app
        self._key = key
        self._cookie = f"cm_web_{port}"  # cookies do not tell ports apart
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the start and end of the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refusal(Request(scope))
        await (refused or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that does not come in; None for one that does."""
        headers = request.headers
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._names:
            return PlainTextResponse(f"There is no {name or 'such host'} here.\n", 421)
        if request.url.path.startswith("/static/"):
            return None
        given = request.query_params.get(KEY)
        if given is not None and request.method == "GET":
            return self._admit(request.url, given)
        if not self._holds_key(headers):
            return PlainTextResponse(LOCKED, 403)
        if request.method not in ("GET", "HEAD") and not _same_origin(headers, host):
            return PlainTextResponse("A change must come from a page of this dashboard.\n", 403)
        return None

    def _admit(self, url: URL, given: str) -> Response:
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            return PlainTextResponse(LOCKED, 403)
        # Relative, so that the name by which it was called stays; without the key, so that it is in no
        # history and no link that is passed on.
        rest = url.remove_query_params(KEY)
        path = "/" + rest.path.lstrip("/\\")  # two slashes would lead to another host
        answer = RedirectResponse(path + (f"?{rest.query}" if rest.query else ""), 303)
        answer.set_cookie(
            self._cookie, self._key, max_age=YEAR_S, httponly=True, samesite="lax", path="/"
        )
        return answer

    def _holds_key(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        held = cookies[self._cookie].value if self._cookie in cookies else ""
        return hmac.compare_digest(held.encode(), self._key.encode())


def _same_origin(headers: Headers, host: str) -> bool:
    return urlsplit(headers.get("origin", "")).netloc == host


def form_token(key: str) -> str:
    """What each form of ours carries; another site cannot read it."""
    return hmac.new(key.encode(), b"form", hashlib.sha256).hexdigest()


def is_token(key: str, given: str) -> bool:
    """Whether a form was ours."""
    return hmac.compare_digest(given.encode(), form_token(key).encode())
