"""asyncssh's own server as a process: commands and sftp for one user.

    python asyncssh_server.py ROOT

ROOT has the files `port`, `host_key` and `authorized_keys`. It serves on the loopback interface until
it is killed.
"""

import asyncio
import sys
from pathlib import Path

import asyncssh


async def serve(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Run the command by a shell. Its session ends with the command's, and the other way round."""
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "exit 1",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    code = await child.wait()
    await process.stdout.drain()
    process.exit(code if code >= 0 else 128 - code)


async def main(root: Path) -> None:
    """Serve for ever."""
    await asyncssh.listen(
        "127.0.0.1",
        int((root / "port").read_text()),
        server_host_keys=[str(root / "host_key")],
        authorized_client_keys=str(root / "authorized_keys"),
        process_factory=serve,
        sftp_factory=True,
        encoding=None,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
