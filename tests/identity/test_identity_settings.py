"""What the configuration refuses, before anything listens."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from identity_house import DEADLINE_S, Ports

from cmd_daemon.config import ConfigError, read_config

TLS = 'certificate = "a.pem"\nkey = "a.key"\n'
TOKENS = f'[listen.x]\naddress = "0.0.0.0:7443"\nclients = "tokens"\n{TLS}'
OIDC = '[identity.oidc]\nissuer = "https://iam.example/"\naudience = "cmd"\n'
ROLES = '[identity.oidc.roles]\nadmin = "rubin/admins"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[listen.x]\naddress = "0.0.0.0:7443"\nclients = "tokens"\n', "with TLS only"),
        (f'[listen.x]\naddress = "0.0.0.0:7443"\n{TLS}', "not open to everybody"),
        (TOKENS, "listen.x: clients = 'tokens' needs the section identity.oidc"),
        (TOKENS.replace("tokens", "certificates"), "client_ca goes with"),
        (
            TOKENS.replace("tokens", "certificates") + 'client_ca = "ca.pem"\n',
            "needs the section identity.certificates",
        ),
        (TOKENS.replace("0.0.0.0:7443", "7443") + OIDC + ROLES, "host:port"),
        (TOKENS.replace("7443", "74430") + OIDC + ROLES, "host:port"),
        (OIDC, "identity.oidc.roles: Field required"),
        (OIDC + "[identity.oidc.roles]\n", "gives nobody a role"),
        (OIDC.replace("https", "http") + ROLES, "must be an https URL"),
        (OIDC.replace("//", "//me:word@") + ROLES, "holds a user or a password"),
        (OIDC.replace('"cmd"', "[]") + ROLES, "identity.oidc.audience"),
        ('[identity]\nsocket_role = "boss"\n', "identity.socket_role"),
        ("[identity.limits]\ncalls = 0\n", "identity.limits.calls"),
        (OIDC + 'client_secret = "abc"\n' + ROLES, "identity.oidc.client_secret: Extra"),
    ],
)
def test_what_is_not_safe_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "cmd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_config(file)
    assert said in str(refused.value)


def _started(tmp_path: Path, listen: str, **replaced: str) -> str:
    """Start a daemon that cannot; what it says."""
    file = tmp_path / "cmd.toml"
    daemon = f'[daemon]\nstate_dir = "{tmp_path}/state"\nsocket = "{tmp_path}/cmd.sock"\n'
    file.write_text(daemon + listen)
    words = [sys.executable, "-m", "cmd_daemon", "run", "-c", str(file)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert not (tmp_path / "cmd.sock").exists()
    return said


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "tls")
    other, _ = ports.authority.issue("other")

    def section(**changed: Any) -> str:
        files = {"certificate": ports.certificate, "key": ports.key, **changed}
        lines = [f'{name} = "{path}"' for name, path in files.items()]
        head = f'[listen.x]\naddress = "127.0.0.1:{ports.tokens}"\nclients = "tokens"\n'
        return head + "\n".join(lines) + "\n" + OIDC + ROLES

    assert "No such file" in _started(tmp_path, section(key=tmp_path / "none.key"))
    said = _started(tmp_path, section(certificate=other))
    assert "listen.x" in said
    assert "other.pem" in said
    said = _started(
        tmp_path, section().replace("[identity.oidc]", '[identity.oidc]\nca = "/no/ca"')
    )
    assert "identity.oidc.ca" in said


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    import socket

    ports = Ports(tmp_path / "tls")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports.tokens))
        taken.listen()
        said = _started(
            tmp_path,
            f'[listen.x]\naddress = "127.0.0.1:{ports.tokens}"\nclients = "tokens"\n'
            f'certificate = "{ports.certificate}"\nkey = "{ports.key}"\n' + OIDC + ROLES,
        )
    assert f"cannot listen on 127.0.0.1:{ports.tokens}" in said
