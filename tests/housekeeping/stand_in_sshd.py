"""asyncssh's own server as a process, where OpenSSH cannot be had.

    python stand_in_sshd.py ROOT PORT

Uses the files of the far machine's folder; SIGUSR1 cuts every connection.
"""

import asyncio
import signal
import sys
from pathlib import Path

import asyncssh

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "full-chain"))

from asyncssh_server import serve

CONNECTIONS: set[asyncssh.SSHServerConnection] = set()


class Server(asyncssh.SSHServer):
    """Remembers its connections."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Take note of it."""
        self._conn = conn
        CONNECTIONS.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        CONNECTIONS.discard(self._conn)


async def main() -> None:
    """Serve until killed."""
    root, port = Path(sys.argv[1]), int(sys.argv[2])
    await asyncssh.create_server(
        Server,
        "127.0.0.1",
        port,
        server_host_keys=[str(root / "host_key")],
        authorized_client_keys=str(root / "authorized_keys"),
        process_factory=serve,
        sftp_factory=True,
        encoding=None,
        config=None,
    )

    def cut() -> None:
        for connection in list(CONNECTIONS):
            connection.abort()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, cut)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
