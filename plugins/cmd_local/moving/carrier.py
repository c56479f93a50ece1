"""How bytes of files come from one facility to another.

The carrier is the one place that knows how a facility's disks are reached. A file is sent in
pieces to a name of its own beside its place (`part`), where sending goes on after an interruption,
and gets its place only when its content is proved by size and SHA-256.
"""

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import Protocol

from cmd_local.attempts import sync_directory

READ_BYTES = 1024 * 1024


class Corrupted(Exception):
    """A file did not arrive as it was sent; what arrived is thrown away."""


class Carrier(Protocol):
    """Bytes of files at facilities. Paths are those the facility's agent tells; sizes in bytes.
    What fails raises OSError."""

    async def size(self, facility: str, path: str) -> int | None:
        """How large a file is; None if there is none."""

    async def read(self, facility: str, path: str, offset: int, length: int) -> bytes:
        """A piece of a file; shorter at its end, empty behind it."""

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        """Write a piece at its offset; the file and its directory are made where they are missing."""

    async def finish(self, facility: str, part: str, path: str, size: int, sha256: str) -> None:
        """Give a wholly written file its place, durably. Raises Corrupted if size or content differ."""

    async def sha256(self, facility: str, path: str) -> str:
        """The SHA-256 of a file's content, in hexadecimal digits."""

    async def remove(self, facility: str, path: str) -> None:
        """Remove a file, or a directory if it is empty. One that is not there is no error."""

    async def release(self) -> None:
        """Let go of what is held at facilities; it may be used again."""


class SameMachineCarrier:
    """Facilities whose disks are all mounted on the daemon's own machine."""

    async def size(self, facility: str, path: str) -> int | None:
        """See `Carrier`."""
        return await asyncio.to_thread(_size, Path(path))

    async def read(self, facility: str, path: str, offset: int, length: int) -> bytes:
        """See `Carrier`."""
        return await asyncio.to_thread(_read, Path(path), offset, length)

    async def write(self, facility: str, path: str, offset: int, data: bytes) -> None:
        """See `Carrier`."""
        await asyncio.to_thread(_write, Path(path), offset, data)

    async def finish(self, facility: str, part: str, path: str, size: int, sha256: str) -> None:
        """See `Carrier`."""
        await asyncio.to_thread(_finish, Path(part), Path(path), size, sha256)

    async def sha256(self, facility: str, path: str) -> str:
        """See `Carrier`."""
        return await asyncio.to_thread(_sha256, Path(path))

    async def remove(self, facility: str, path: str) -> None:
        """See `Carrier`."""
        await asyncio.to_thread(_remove, Path(path))

    async def release(self) -> None:
        """See `Carrier`; nothing is held."""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as source:
        source.seek(offset)
        return source.read(length)


def _write(path: Path, offset: int, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        view, at = memoryview(data), offset
        while view:
            written = os.pwrite(handle, view, at)
            view, at = view[written:], at + written
    finally:
        os.close(handle)


def _finish(part: Path, path: Path, size: int, sha256: str) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    found, digest = part.stat().st_size, _sha256(part)
    if found != size or digest != sha256:
        part.unlink()
        raise Corrupted(
            f"{found} of {size} bytes"
            if found != size
            else f"SHA-256 {digest[:12]}... instead of {sha256[:12]}..."
        )
    part.rename(path)
    sync_directory(path.parent)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while data := source.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            with contextlib.suppress(OSError):  # something is in it: it stays
                path.rmdir()
        else:
            path.unlink()
