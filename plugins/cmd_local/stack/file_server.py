"""The server of a facility's files: pieces of them in and out, for a daemon on another machine.

    python file_server.py

It needs the standard library of Python 3.9 or newer and nothing else. Requests come on standard
input, answers go to standard output, each a JSON object on one line, followed by as many raw bytes as
its field ``bytes`` says. Answers may come in any order.

    -> {"id": 1, "op": "size", "path": P}                     <- {"id": 1, "ok": true, "result": 42}
    -> {"id": 2, "op": "read", "path": P, "offset": 0, "length": 9}   <- {"id": 2, "ok": true, "bytes": 9}...
    -> {"id": 3, "op": "write", "path": P, "offset": 0, "bytes": 9}...
    -> {"id": 4, "op": "finish", "part": Q, "path": P, "size": 42, "sha256": "..."}
    -> {"id": 5, "op": "sha256", "path": P}
    -> {"id": 6, "op": "remove", "path": P}
    <- {"id": 6, "ok": false, "errno": 28, "message": "..."}

The first line it prints is ``{"ready": "file server", "pid": ...}``. Every operation may be repeated.
``finish`` answers the words of what is wrong, or null once the file is durably at its place. The
program ends with its input.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

READ_BYTES = 1024 * 1024
THREADS = 4
WAITING = 16
"""Requests taken in ahead of those being done, so that memory stays bounded."""


def size(request: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """The size of a file, null if there is none."""
    try:
        return Path(request["path"]).stat().st_size, b""
    except FileNotFoundError:
        return None, b""


def read(request: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """A piece of a file; shorter at its end."""
    with Path(request["path"]).open("rb") as source:
        source.seek(request["offset"])
        return None, source.read(request["length"])


def write(request: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """Write a piece; the file and its directory are made where they are missing."""
    path = Path(request["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        view, at = memoryview(data), request["offset"]
        while view:
            written = os.pwrite(handle, view, at)
            view, at = view[written:], at + written
    finally:
        os.close(handle)
    return None, b""


def finish(request: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """Give a wholly written file its place, durably; null, or what is wrong with it in words."""
    part, path = Path(request["part"]), Path(request["path"])
    if not part.exists() and path.is_file():
        # Asked for again, because the answer to the first time was lost.
        return wrong_with(path, request), b""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    problem = wrong_with(part, request)
    if problem is not None:
        part.unlink()
        return problem, b""
    part.rename(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return None, b""


def wrong_with(path: Path, request: dict[str, Any]) -> str | None:
    """Say how a file differs from what it should be; None if it does not."""
    found = path.stat().st_size
    if found != request["size"]:
        return f"{found} of {request['size']} bytes"
    digest = digest_of(path)
    if digest != request["sha256"]:
        return f"SHA-256 {digest[:12]}... instead of {request['sha256'][:12]}..."
    return None


def sha256(request: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """The SHA-256 of a file's content."""
    return digest_of(Path(request["path"])), b""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while True:
            data = source.read(READ_BYTES)
            if not data:
                return digest.hexdigest()
            digest.update(data)


def remove(request: dict[str, Any], data: bytes) -> tuple[Any, bytes]:
    """Remove a file, or a directory if it is empty; one that is not there is no error."""
    path = Path(request["path"])
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            with contextlib.suppress(OSError):  # something is in it: it stays
                path.rmdir()
        else:
            path.unlink()
    return None, b""


OPERATIONS = {each.__name__: each for each in (size, read, write, finish, sha256, remove)}


class Server:
    """Does requests, several at a time, and answers each when it is done."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers
        self._answering = threading.Lock()
        self._room = threading.Semaphore(WAITING)

    def serve(self) -> None:
        """Go on until the input ends."""
        self._say({"ready": "file server", "pid": os.getpid()}, b"")
        with ThreadPoolExecutor(THREADS) as pool:
            while True:
                line = self._requests.readline()
                if not line.endswith(b"\n"):
                    # Nobody waits for what is still being done, and all of it may be repeated.
                    os._exit(0)
                request = json.loads(line)
                data = self._requests.read(request.get("bytes", 0))
                if len(data) < request.get("bytes", 0):
                    os._exit(0)
                self._room.acquire()
                pool.submit(self._do, request, data)

    def _do(self, request: dict[str, Any], data: bytes) -> None:
        blob = b""
        try:
            result, blob = OPERATIONS[request["op"]](request, data)
            answer = {"ok": True, "result": result}
        except OSError as error:
            answer = {"ok": False, "errno": error.errno, "message": error.strerror or str(error)}
        except Exception as error:  # noqa: BLE001 whatever a request holds, others are served
            answer = {"ok": False, "errno": None, "message": f"{type(error).__name__}: {error}"}
        try:
            self._say({"id": request.get("id"), **answer}, blob)
        except OSError:
            os._exit(0)
        finally:
            self._room.release()

    def _say(self, answer: dict[str, Any], blob: bytes) -> None:
        line = json.dumps({**answer, "bytes": len(blob)}).encode() + b"\n"
        with self._answering:
            self._answers.write(line + blob)
            self._answers.flush()


if __name__ == "__main__":
    Server(sys.stdin.buffer, sys.stdout.buffer).serve()
