"""Identities for a real Rucio server that speaks TLS: certificates and proxies, and an issuer of tokens."""

import base64
import json
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier
from rucio_site import Site
from rucio_site.server import environment
from rucio_site.site import VENV
from services.processes import Process, free_port

PROXY_INFO = ObjectIdentifier("1.3.6.1.5.5.7.1.14")
INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")
"""The extension by which a certificate is a proxy (RFC 3820) with all rights of its owner."""

USER = [(NameOID.ORGANIZATION_NAME, "Rubin"), (NameOID.COMMON_NAME, "cmd robot")]
USER_DN = "CN=cmd robot,O=Rubin"


def name_of(parts: list[tuple[ObjectIdentifier, str]]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Authority:
    """A certificate authority; `file` is its certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = key()
        self._name = name_of([(NameOID.COMMON_NAME, "CA of a test")])
        self._certificate = self._signed(self._name, self._key.public_key(), ca=True)
        self.file = directory / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(self, subject: x509.Name, public: Any, *, ca: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())

    def host(self) -> tuple[Path, Path]:
        """Files of a certificate for localhost and of its key."""
        mine = key()
        certificate = self._signed(name_of([(NameOID.COMMON_NAME, "localhost")]), mine.public_key())
        files = self._directory / "host.pem", self._directory / "host.key"
        files[0].write_bytes(pem(certificate))
        files[1].write_bytes(pem_key(mine))
        return files

    def proxy(self, path: Path, lifetime: timedelta, user: Any = USER) -> datetime:
        """Write a proxy of a user's certificate, as `voms-proxy-init` does; until when it is good."""
        owner, mine = key(), key()
        certificate = self._signed(name_of(user), owner.public_key())
        end = datetime.now(UTC).replace(microsecond=0) + lifetime
        subject = [*certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, "4711")]
        proxy = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(certificate.subject)
            .public_key(mine.public_key())
            .serial_number(4711)
            .not_valid_before(datetime.now(UTC) - timedelta(hours=2))
            .not_valid_after(end)
            .add_extension(x509.UnrecognizedExtension(PROXY_INFO, INHERIT_ALL), critical=True)
            .sign(owner, hashes.SHA256())
        )
        partial = path.with_suffix(".new")
        partial.write_bytes(pem(proxy) + pem_key(mine) + pem(certificate))
        partial.chmod(0o600)
        partial.replace(path)
        return end


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_key(private: rsa.RSAPrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An issuer of tokens (RS256) that tells of itself and its key as OpenID Connect wants it."""

    def __init__(self, authority: Authority) -> None:
        self._key = key()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(issuer.told(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.host())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def told(self, path: str) -> Any:
        """What it answers to a question."""
        if path.endswith("openid-configuration"):
            return {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwk",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        numbers = self._key.public_key().public_numbers()
        values = {"n": numbers.n, "e": numbers.e}
        bits = {k: encoded(v.to_bytes((v.bit_length() + 7) // 8, "big")) for k, v in values.items()}
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", **bits}]}

    def token(self, lifetime: timedelta, **claims: Any) -> tuple[str, datetime]:
        """A token, and until when it is good."""
        end = datetime.now(UTC).replace(microsecond=0) + lifetime
        told = {
            "iss": self.url,
            "sub": "cmd",
            "aud": "rucio",
            "scope": "openid profile",
            "iat": int((end - timedelta(days=1)).timestamp()),
            "exp": int(end.timestamp()),
            **claims,
        }
        head = encoded(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "1"}).encode())
        signed = f"{head}.{encoded(json.dumps(told).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encoded(signature)}", end

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


CONFIGURATION = """\
import ssl

def ssl_context(config, default):
    context = default()
    context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
    return context
"""
APPLICATION = '''\
"""Rucio behind TLS: tells it the subject of a client's certificate as Apache's mod_ssl would."""

from rucio.web.rest.main import application as rucio

SHORT = {"commonName": "CN", "organizationName": "O"}


def application(environ, start_response):
    certificate = environ["gunicorn.socket"].getpeercert()
    if certificate:
        parts = [pair for rdn in certificate["subject"] for pair in rdn]
        dn = ",".join(f"{SHORT.get(name, name)}={value}" for name, value in reversed(parts))
        environ["SSL_CLIENT_S_DN"] = dn
    return rucio(environ, start_response)
'''


class SecureServer:
    """A second server of a site's Rucio, by TLS, that takes proxies and tokens; as a context."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.authority = Authority(directory)
        self.issuer = Issuer(self.authority)
        certificate, private = self.authority.host()
        secrets = {
            "client_id": "rucio",
            "client_secret": "s",
            "issuer": self.issuer.url,
            "redirect_uris": ["https://localhost/"],
        }
        told = {"test": {**secrets, "SCIM": {**secrets, "grant_type": "client_credentials"}}}
        (directory / "idpsecrets.json").write_text(json.dumps(told))
        config = directory / "rucio.cfg"
        config.write_text(
            f"{site.config.read_text()}\n[oidc]\nidpsecrets = {directory}/idpsecrets.json\n"
            "admin_issuer = test\n"
        )
        (directory / "gunicorn.conf.py").write_text(CONFIGURATION)
        (directory / "behind_tls.py").write_text(APPLICATION)
        port = free_port()
        self.url = f"https://localhost:{port}"
        argv = [str(VENV / "bin" / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--threads", "4"]
        argv += ["--config", str(directory / "gunicorn.conf.py"), "--worker-class", "gthread"]
        argv += ["--certfile", str(certificate), "--keyfile", str(private)]
        argv += ["--ca-certs", str(self.authority.file), "--cert-reqs", str(int(ssl.CERT_OPTIONAL))]
        argv += ["--no-control-socket", "--pythonpath", str(directory), "behind_tls:application"]
        env = environment(site.home, config)
        env["REQUESTS_CA_BUNDLE"] = str(self.authority.file)
        log = directory / "server.log"
        self.process = Process("the Rucio server with TLS", argv, log, self._answers, env)
        self._add_identities(site)

    def _add_identities(self, site: Site) -> None:
        client = site.client()
        subject = f"SUB=cmd, ISS={self.issuer.url}"
        for identity, kind in ((USER_DN, "X509"), (subject, "OIDC")):
            client.add_identity("root", identity, kind, "cmd@example.org", default=True)

    def _answers(self) -> bool:
        program = (
            "import ssl, sys, urllib.request as u; c = ssl.create_default_context(cafile=sys.argv[2]);"
            "u.urlopen(sys.argv[1] + '/ping', timeout=5, context=c).read()"
        )
        argv = [sys.executable, "-c", program, self.url, str(self.authority.file)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.issuer.stop()
