"""An ssh server of the example's own, on a free loopback port, with keys of its own.

It is OpenSSH's where that is installed, else asyncssh's as a separate process. Either runs as the user
who runs the example and needs no rights beyond. Everything lies in one directory.
"""

import os
import pwd
import shutil
import socket
import sys
import time
from pathlib import Path

import asyncssh
from running import DemoFailed, Kept

LISTENS_S = 20.0
OPENSSH = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host_key
PidFile none
AuthorizedKeysFile {root}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 10
MaxStartups 100
Subsystem sftp internal-sftp
"""


class SshServer:
    """The server: its files in `root`, and the process, which is started again whenever it dies,
    after `pause_s` seconds. With `stand_in` it is asyncssh's even where OpenSSH is installed."""

    def __init__(self, root: Path, pause_s: float, stand_in: bool = False) -> None:
        self.root = root
        self.key = root / "client_key"
        self.known_hosts = root / "known_hosts"
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = 0
        self._pause_s = pause_s
        self._stand_in = stand_in
        self._kept: Kept | None = None

    def prepare(self) -> None:
        """Make the keys, once, and choose a port."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        host, client = _key(self.root / "host_key"), _key(self.key)
        (self.root / "authorized_keys").write_bytes(client.export_public_key())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host.export_public_key().decode()}")
        (self.root / "port").write_text(str(self.port))
        (self.root / "sshd_config").write_text(OPENSSH.format(port=self.port, root=self.root))

    def start(self) -> None:
        """Start the server where it was prepared, now or by a former run. Raises DemoFailed."""
        self.port = int((self.root / "port").read_text())
        places = f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}"
        sshd = None if self._stand_in else shutil.which("sshd", path=places)
        if sshd is not None:
            if os.geteuid() == 0:
                Path("/run/sshd").mkdir(exist_ok=True)
            argv = [sshd, "-D", "-e", "-f", self.root / "sshd_config"]
            kept = Kept("ssh-server", argv, self.root, "sshd", self._pause_s)
        else:
            print("asyncssh's own server stands in for OpenSSH's", flush=True)
            program = Path(__file__).with_name("asyncssh_server.py")
            argv = [sys.executable, program, self.root]
            kept = Kept("ssh-server", argv, self.root, program.name, self._pause_s)
        self._kept = kept
        kept.start()
        give_up_at = time.monotonic() + LISTENS_S
        while time.monotonic() < give_up_at:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise DemoFailed(f"the ssh server does not listen; see {self.root}")

    def stop(self) -> None:
        """End it."""
        if self._kept is not None:
            self._kept.stop()


def _key(path: Path) -> asyncssh.SSHKey:
    """The private key in this file, made if it is not there."""
    if path.exists():
        return asyncssh.read_private_key(path)
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.touch(mode=0o600)
    key.write_private_key(path)
    return key
