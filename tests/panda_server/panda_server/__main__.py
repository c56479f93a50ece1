"""The server as a process. `serve` (the default) writes `server.json` into its state directory when
it answers; `token` prints a token for it. Killed and started again, it goes on where it was."""

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from panda_server.model.clock import Clock
from panda_server.model.pace import Pace
from panda_server.model.queues import Queue
from panda_server.server import PandaServer
from panda_server.web.identity import Issuer


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="panda_server", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=("serve", "token"), default="serve")
    parser.add_argument("--state", type=Path, required=True, help="directory of the server")
    parser.add_argument("--port", type=int, default=0, help="plain HTTP; 0 is any free one")
    parser.add_argument("--tls-port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=1.0, help="model seconds per real second")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on all waits of the model")
    parser.add_argument("--slots", type=int, help="run jobs for real, so many per queue at a time")
    parser.add_argument("--queue", action="append", default=[], metavar="NAME,CLOUD,SITE")
    parser.add_argument("--stomp", metavar="HOST:PORT", help="broker to publish messages to")
    parser.add_argument("--role", choices=("production", "user", "other"), default="production")
    parser.add_argument("--lifetime", type=float, default=14 * 86400, help="of a token, in seconds")
    return parser.parse_args()


def token(told: argparse.Namespace) -> None:
    """Print a token, signed with the key of the server's state."""
    told.state.mkdir(parents=True, exist_ok=True)
    issuer, clock = Issuer(told.state / "issuer.pem"), Clock()
    groups = ("Rubin", "Rubin/production") if told.role == "production" else ("Rubin",)
    name, nickname = ("Other User", "ouser") if told.role == "other" else ("Test User", "tuser")
    print(issuer.token(clock, name, nickname, groups, told.lifetime))


def serve(told: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    server = PandaServer(
        speed=told.speed,
        pace=Pace().scaled(told.pace),
        state=told.state,
        ports=(told.port, told.tls_port),
    )
    for text in told.queue:
        server.world.queues.add(Queue(*text.split(",")))
    if told.slots:
        server.run_locally(told.slots)
    if told.stomp:
        host, _, port = told.stomp.rpartition(":")
        server.messages.connect(host, int(port))
    with server:
        where = {
            "url": server.url,
            "tls_url": server.tls_url,
            "ca_file": str(server.ca_file),
            "pid": os.getpid(),
        }
        ready = told.state / "server.json"
        fresh = ready.with_suffix(".new")
        fresh.write_text(json.dumps(where))
        fresh.replace(ready)
        over.wait()
        ready.unlink()


if __name__ == "__main__":
    told = arguments()
    token(told) if told.verb == "token" else serve(told)
