"""TLS of the TCP ports."""

import ssl
from pathlib import Path
from typing import Any

import grpc
import structlog

from cmd_daemon.api.identity.settings import ListenSection

log = structlog.get_logger()


class BadCertificate(Exception):
    """The files of a port cannot be used; the message names them."""


def credentials(name: str, section: ListenSection) -> grpc.ServerCredentials:
    """The TLS of a port. Its files are looked at before each handshake, so that a certificate can be
    renewed while the daemon runs; what cannot be used then is logged, and the former one kept.

    Raises BadCertificate.
    """
    files = _Files(name, section)
    changed: Any = files.changed  # None for no change; the stubs do not know that
    return grpc.dynamic_ssl_server_credentials(
        files.read(), changed, section.clients == "certificates"
    )


class _Files:
    def __init__(self, name: str, section: ListenSection) -> None:
        assert section.certificate is not None
        assert section.key is not None
        self._name = name
        self._certificate, self._key = section.certificate, section.key
        self._ca = section.client_ca
        self._seen = self._marks()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The files as they are now. Raises BadCertificate."""
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate, self._key)
            if self._ca is not None:
                context.load_verify_locations(self._ca)
            pair = (self._key.read_bytes(), self._certificate.read_bytes())
            ca = None if self._ca is None else self._ca.read_bytes()
        except (OSError, ssl.SSLError) as error:
            told = ", ".join(str(p) for p in (self._certificate, self._key, self._ca) if p)
            raise BadCertificate(
                f"listen.{self._name}: the files {told} cannot be used: {error}"
            ) from error
        return grpc.ssl_server_certificate_configuration([pair], ca)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The files if they are others than before. In a thread of gRPC's."""
        marks = self._marks()
        if marks == self._seen:
            return None
        self._seen = marks
        try:
            return self.read()
        except BadCertificate as error:
            log.error("the former certificate is kept", problem=str(error))
            return None

    def _marks(self) -> list[tuple[int, int] | None]:
        return [_mark(path) for path in (self._certificate, self._key, self._ca) if path]


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
