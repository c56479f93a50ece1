"""A certificate authority for one run of the server, and the server's certificate for loopback."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def made(folder: Path) -> tuple[Path, Path, Path]:
    """The authority's certificate, the server's, and the server's key; new for ten days, or those
    that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "ca.pem", folder / "server.pem"]
    key_file = folder / "server.key"
    if key_file.exists():
        return files[0], files[1], key_file
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    issuer = _named("Contract server CA")
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    for file, key, authority in zip(files, keys, (True, False), strict=True):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(issuer if authority else _named("localhost"))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=10))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(keys[0], hashes.SHA256())
        )
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(keys[1].private_bytes(serialization.Encoding.PEM, *plain))
    key_file.chmod(0o600)
    return files[0], files[1], key_file
