"""Sending files from one facility to another, piece by piece, until they have certainly arrived.

A file that is at its place has arrived: it got there only with its checksum proved. One that was
being sent is gone on with where it stopped. A full disk stops all that goes there, since each
further file would only fill it again; the other destinations go on.
"""

import asyncio
import errno
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from cmd_daemon.hooks import ErrorClass, Progress
from cmd_local.moving.carrier import Carrier, Corrupted
from cmd_local.moving.file_client import Unreachable
from cmd_local.moving.settings import MoverSettings

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Parcel:
    """One file to be sent: where it is, where it goes, its size in bytes and its SHA-256."""

    source: str
    file: str
    destination: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a parcel: wholly `written`, `arrived` with its checksum proved, and else why not."""

    parcel: Parcel
    written: bool = False
    arrived: bool = False
    reason: str = ""
    error_class: ErrorClass = ErrorClass.TRANSIENT


@dataclass(slots=True)
class Meter:
    """How much is done: files, failed ones, bytes, and bytes a second since it was started.

    Bytes that had arrived before count as done but not for the rate.
    """

    files: int = 0
    done: int = 0
    failed: int = 0
    bytes: int = 0
    note: str = ""
    _moved: int = 0
    _since: float = field(default_factory=time.monotonic)

    def start(self, note: str, files: int) -> None:
        """Begin a stage with so many files."""
        self.note, self.files, self.done, self.failed = note, files, 0, 0
        self.bytes, self._moved, self._since = 0, 0, time.monotonic()

    def moved(self, count: int) -> None:
        """Some bytes were moved."""
        self.bytes += count
        self._moved += count

    def progress(self) -> Progress:
        """The figures as the driver port has them."""
        seconds = max(time.monotonic() - self._since, 0.001)
        return Progress(
            done=self.done,
            total=self.files,
            failed=self.failed,
            unit="files",
            bytes=self.bytes,
            rate=self._moved / seconds,
            note=self.note,
        )


class Sender:
    """Sends parcels, a few at a time."""

    def __init__(self, carrier: Carrier, settings: MoverSettings, meter: Meter) -> None:
        self._carrier = carrier
        self._settings = settings
        self._meter = meter
        self._streams = asyncio.Semaphore(settings.streams)
        self._full: dict[str, str] = {}

    async def send(self, parcels: Iterable[Parcel]) -> list[Sent]:
        """Send them all; what fails is told, never raised."""
        return list(await asyncio.gather(*(self._send(parcel) for parcel in parcels)))

    async def _send(self, parcel: Parcel) -> Sent:
        async with self._streams:
            try:
                sent = await self._deliver(parcel)
            except OSError as error:
                sent = self._failed(parcel, error)
        self._meter.done += sent.arrived
        self._meter.failed += not sent.arrived
        return sent

    async def _deliver(self, parcel: Parcel) -> Sent:
        carrier = self._carrier
        if await carrier.size(parcel.destination, parcel.path) == parcel.size:
            self._meter.bytes += parcel.size
            return Sent(parcel, written=True, arrived=True)
        if parcel.destination in self._full:
            return Sent(parcel, reason=self._full[parcel.destination])
        part = f"{parcel.path}.part"
        words = ""
        for _ in range(self._settings.sends):
            offset = min(await carrier.size(parcel.destination, part) or 0, parcel.size)
            problem = await self._pieces(parcel, part, offset)
            if problem is not None:
                return problem
            try:
                await carrier.finish(
                    parcel.destination, part, parcel.path, parcel.size, parcel.sha256
                )
            except Corrupted as error:
                words = str(error)
                continue
            return Sent(parcel, written=True, arrived=True)
        return Sent(
            parcel,
            written=True,
            reason=f"arrived corrupted at {parcel.destination} {self._settings.sends} times ({words})",
        )

    async def _pieces(self, parcel: Parcel, part: str, offset: int) -> Sent | None:
        """Send the file from an offset on; what went wrong, or None."""
        self._meter.bytes += offset
        while True:
            try:
                data = await self._carrier.read(
                    parcel.source, parcel.file, offset, self._settings.chunk
                )
            except FileNotFoundError:
                return Sent(
                    parcel,
                    reason=f"its file is lost at {parcel.source}: {parcel.file}",
                    error_class=ErrorClass.PERMANENT,
                )
            except Unreachable:
                raise
            except OSError as error:
                return Sent(parcel, reason=f"{parcel.source} cannot read its file: {error}")
            data = data[: parcel.size - offset]
            if not data and offset < parcel.size:
                return Sent(
                    parcel,
                    reason=f"its file at {parcel.source} has become shorter than registered: "
                    f"{offset} of {parcel.size} bytes",
                    error_class=ErrorClass.PERMANENT,
                )
            try:
                await self._carrier.write(parcel.destination, part, offset, data)
            except OSError as error:
                if error.errno in FULL:
                    await self._carrier.remove(parcel.destination, part)
                raise
            offset += len(data)
            self._meter.moved(len(data))
            if offset >= parcel.size:
                return None

    def _failed(self, parcel: Parcel, error: OSError) -> Sent:
        if error.errno in FULL:
            reason = (
                f"no space left at {parcel.destination} ({parcel.path.rpartition('/')[0]}): "
                "make room there, then retry"
            )
            self._full[parcel.destination] = reason
            return Sent(parcel, reason=reason)
        if isinstance(error, Unreachable):
            return Sent(parcel, reason=str(error), error_class=error.error_class)
        return Sent(parcel, reason=f"{parcel.destination} cannot write the file: {error}")
