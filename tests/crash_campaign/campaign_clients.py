"""Clients that misbehave: raw connections, garbage, cancelled streams, oversized calls."""

import contextlib
import os
import random
import socket
import threading
from pathlib import Path

import grpc

from cmd_api.v1 import event_pb2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WATCH = "/cmd_api.v1.EventService/WatchEvents"
LIST = "/cmd_api.v1.EventService/ListEvents"


def swarm(path: Path, dice: random.Random, connections: int = 300) -> int:
    """Misbehave at the socket for a moment; how many connections and calls that made.

    Never raises: a daemon may die under it.
    """
    made = 0
    held: list[socket.socket] = []
    for _ in range(connections):
        with contextlib.suppress(OSError):
            each = socket.socket(socket.AF_UNIX)
            each.settimeout(0.5)
            held.append(each)
            each.connect(str(path))
            made += 1
            kind = dice.randrange(5)
            if kind == 0:
                each.sendall(os.urandom(dice.randrange(1, 5000)))
            elif kind == 1:
                each.sendall(PREFACE + os.urandom(200))
            elif kind == 2:
                each.sendall(PREFACE[: dice.randrange(1, len(PREFACE))])
            elif kind == 3:
                each.close()
    made += _streams(path, dice)
    for each in held:
        each.close()
    return made


def _streams(path: Path, dice: random.Random) -> int:
    made = 0
    for _ in range(4):
        with grpc.insecure_channel(f"unix:{path}", [("grpc.use_local_subchannel_pool", 1)]) as line:
            request = event_pb2.WatchEventsRequest(resume_token="0").SerializeToString()
            for _ in range(15):
                made += 2
                watch = line.unary_stream(WATCH)(request, timeout=1.0)
                if dice.random() < 0.5:
                    threading.Thread(target=_read_one, args=(watch,), daemon=True).start()
                watch.cancel()
                with contextlib.suppress(grpc.RpcError, ValueError):
                    line.unary_unary(LIST).future(os.urandom(50_000), timeout=0.5).cancel()
            with contextlib.suppress(grpc.RpcError):
                line.unary_unary("/cmd_api.v1.No/Such")(b"x", timeout=0.3)
    return made


def _read_one(watch: "grpc.CallIterator[bytes]") -> None:
    with contextlib.suppress(grpc.RpcError, StopIteration, ValueError):
        next(watch)
