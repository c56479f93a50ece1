"""An OpenID Connect issuer on loopback, with real RS256 keys: discovery, key set, device flow, tokens."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "cmd-daemon"
CLIENT = "cm"


class Issuer:
    """Signs tokens, and answers what a real one answers. `fetched` counts the looks at its key set;
    `asked` are the forms it has had; with `down` it answers nothing but 503."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.kid = ""
        self.fetched = 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.down = False
        self.pending = 1
        self.refused = ""
        self.claims: dict[str, Any] = {"preferred_username": "ann", "groups": ["rubin/pilots"]}
        self.issued: list[str] = []
        self.rotate()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self, forget: bool = False) -> None:
        """Sign with a new key from now on; the former ones stay in the key set unless forgotten."""
        if forget:
            self.keys.clear()
        self.kid = f"key-{time.monotonic_ns()}"
        self.keys[self.kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, who: str = "ann", *groups: str, **claims: Any) -> str:
        """A signed token of an hour; a claim that is None is left out."""
        now = time.time()
        all_claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": f"sub-of-{who}",
            "preferred_username": who,
            "groups": list(groups),
            "iat": int(now),
            "exp": int(now) + 3600,
            **claims,
        }
        told = {name: value for name, value in all_claims.items() if value is not None}
        return self.signed(told)

    def signed(self, claims: dict[str, Any], kid: str = "") -> str:
        """Claims signed with the present key; `kid` is another name for it."""
        key = self.keys[self.kid]
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid or self.kid})

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What it answers, with the status."""
        if self.down:
            return 503, {"error": "temporarily_unavailable"}
        match path:
            case "/.well-known/openid-configuration":
                return 200, {
                    "issuer": self.url,
                    "jwks_uri": f"{self.url}jwk",
                    "token_endpoint": f"{self.url}token",
                    "device_authorization_endpoint": f"{self.url}devicecode",
                }
            case "/jwk":
                self.fetched += 1
                made = [
                    json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
                    | {"kid": kid, "use": "sig", "alg": "RS256"}
                    for kid, key in self.keys.items()
                ]
                return 200, {"keys": made}
            case "/devicecode":
                return 200, {
                    "device_code": "the-device-code",
                    "user_code": "ABCD-EFGH",
                    "verification_uri": f"{self.url}device",
                    "verification_uri_complete": f"{self.url}device?user_code=ABCD-EFGH",
                    "expires_in": 600,
                    "interval": 0,
                }
            case "/token":
                return self._token(form)
        return 404, {}

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if form.get("grant_type") == "refresh_token":
            good = form.get("refresh_token") == "the-refresh-token"
        else:
            good = form.get("device_code") == "the-device-code"
        if not good or form.get("client_id") != CLIENT:
            return 400, {"error": "invalid_grant"}
        if self.refused:
            return 400, {"error": self.refused, "error_description": "said so"}
        if self.pending:
            self.pending -= 1
            return 400, {"error": "authorization_pending"}
        token = self.token(aud=form.get("audience") or AUDIENCE, **self.claims)
        self.issued.append(token)
        return 200, {
            "access_token": token,
            "refresh_token": "the-refresh-token",
            "expires_in": 3600,
            "token_type": "Bearer",
        }


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            form = {k: v[0] for k, v in parse_qs(self.rfile.read(size).decode()).items()}
            issuer.asked.append((self.path, form))
            self._answer(form)

        def _answer(self, form: dict[str, str]) -> None:
            status, told = issuer.answer(self.path, form)
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler
