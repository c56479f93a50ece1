"""`cm web`: binds the port, tells the address with its key, serves until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from cm_client import AsyncClient, Client, Credentials

from .app import make_app
from .desk import Desk
from .guard import KEY, LOOPBACK
from .hub import Hub
from .memory import Memory

GRACE_S = 1
"""Seconds that requests under way have when it ends; streams never end by themselves."""


def listen(address: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def kept_key() -> str:
    """The person's key: made once and kept in a file that only they can read, so that bookmarks and open
    pages outlive a restart. Raises OSError."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    file = home / "cmd-daemon" / "web-key"
    with contextlib.suppress(FileNotFoundError):
        if found := file.read_text().strip():
            return found
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = secrets.token_urlsafe(24)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(made + "\n")
    fresh.replace(file)
    return made


def names_of(address: str) -> list[str]:
    """The hosts that a server bound to this address is called by."""
    return [*LOOPBACK, f"[{address}]" if ":" in address else address]


def url_of(bound: socket.socket, key: str) -> str:
    """The address to open, with the key."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/?{KEY}={key}"


async def serve(
    bound: socket.socket,
    key: str,
    daemon: str | None,
    actor: str | None,
    credentials: Credentials,
    started: Callable[[], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `started` is called when pages can be asked for."""
    host, port = bound.getsockname()[:2]
    with Client(daemon, actor=actor, credentials=credentials) as blocking:
        async with AsyncClient(daemon, actor=actor, credentials=credentials) as client:
            hub = Hub(client)
            app = make_app(Desk(client, blocking, hub, Memory(hub), key), port, names_of(host))
            config = uvicorn.Config(
                app,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
            watching = asyncio.create_task(hub.run(), name="watch")
            try:
                bound.listen(128)
                started()
                await uvicorn.Server(config).serve([bound])
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


def run(
    address: str,
    port: int,
    daemon: str | None,
    actor: str | None,
    credentials: Credentials,
    say: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Bind, say where, and serve until Ctrl-C. Raises OSError, and ValueError for an actor that cannot be
    sent, or files of TLS that cannot be read."""
    key = kept_key()
    bound = listen(address, port)
    url = url_of(bound, key)

    def started() -> None:
        say(url)
        if open_browser:
            webbrowser.open(url)

    with contextlib.closing(bound), contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(bound, key, daemon, actor, credentials, started))
