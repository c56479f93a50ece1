"""The directories of attempts: their names, how they come to be at once, and what they tell.

A directory's name follows from the attempt's key alone, so it is the key planted outside: made
whole under a temporary name and renamed into place, it is the detector of duplicates and what
`find` looks for. Everything here blocks on the disk and is meant for a thread.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
MARK = "CMD_ATTEMPT_DIR"
"""Environment variable of every process of an attempt: its directory, by which strays are found."""


class Stage(Enum):
    """How far an attempt's directory says it is."""

    MISSING = "missing"
    UNSTARTED = "unstarted"
    RUNNING = "running"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look at an attempt's directory gave: the stage, the supervisor's process id where
    it runs unwatched, and the content of exit.json when the attempt is over."""

    stage: Stage
    pid: int | None = None
    ending: Mapping[str, Any] | None = None


def ref_of(key: str) -> str:
    """The directory of an attempt, relative to the facility's work directory: readable by people,
    and unique by a digest of the key."""
    path, _, attempt = key.rpartition("#")
    parts = [UNSAFE.sub("_", part)[:60].lstrip(".") or "_" for part in path.split("/")]
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    number = UNSAFE.sub("_", attempt)[:10]
    return "/".join([*parts[:2], f"{'.'.join(parts[2:])}.a{number}-{digest}"])


def write_durably(path: Path, text: str) -> None:
    """Replace a file at once and for good."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with partial.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make new names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file, or None if the file is missing, unreadable or something else."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


class WorkDirectory:
    """One facility's work directory: `attempts/`, `tmp/`, `running/` and the `ledger`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.attempts = root / "attempts"
        self.tmp = root / "tmp"
        self.running = root / "running"
        self.ledger = root / "ledger"

    def prepare(self) -> None:
        """Make the directories and clear what a crash left half made. Raises OSError."""
        for path in (self.attempts, self.tmp, self.running):
            path.mkdir(parents=True, exist_ok=True)
        for left in self.tmp.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def path(self, ref: str) -> Path:
        """The attempt's directory."""
        return self.attempts / ref

    def holds(self, key: str) -> bool:
        """Whether the attempt was planted here. Raises OSError if nobody can tell."""
        try:
            os.stat(self.path(ref_of(key)))  # noqa: PTH116 Path.exists hides errors
        except FileNotFoundError:
            return False
        return True

    def plant(self, key: str, files: Mapping[str, str], executables: frozenset[str]) -> bool:
        """Make the attempt's directory with these files, at once. False if it is there already.

        The renaming is the point of no return: before it nothing can start, after it the attempt
        is found again by any later driver. Raises OSError if it could not be made.
        """
        ref = ref_of(key)
        final = self.path(ref)
        if final.exists():
            return False
        partial = self.tmp / final.name
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for name, text in files.items():
                with (partial / name).open("w") as out:
                    out.write(text)
                    out.flush()
                    os.fsync(out.fileno())
                if name in executables:
                    (partial / name).chmod(0o700)
            sync_directory(partial)
            final.parent.mkdir(parents=True, exist_ok=True)
            sync_directory(final.parent.parent)
            sync_directory(self.attempts)
            (self.running / final.name).write_text(ref)
            try:
                partial.rename(final)
            except OSError:
                if final.exists():
                    return False
                raise
            sync_directory(final.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return True

    def open_refs(self) -> list[str]:
        """The attempts whose end was not yet seen; markers of what was never planted go."""
        refs = []
        for marker in sorted(self.running.iterdir()):
            ref = marker.read_text()
            if ref and self.path(ref).is_dir():
                refs.append(ref)
            else:
                marker.unlink(missing_ok=True)
        return refs

    def close_ref(self, ref: str) -> None:
        """Take note that the attempt's end was seen."""
        (self.running / Path(ref).name).unlink(missing_ok=True)

    def look(self, ref: str, watched: bool) -> Sight:
        """See how far an attempt is; `watched` says that its supervisor certainly lives.

        An attempt whose supervisor vanished is brought to its end here: what is left of its
        processes is killed and exit.json written in the supervisor's place. Raises OSError if the disk fails.
        """
        path = self.path(ref)
        try:
            names = set(os.listdir(path))  # noqa: PTH208 names only, once per poll
        except FileNotFoundError:
            os.stat(self.attempts)  # noqa: PTH116 a missing disk is not a missing attempt
            return Sight(Stage.MISSING)
        if "exit.json" in names:
            return Sight(Stage.OVER, ending=read_json(path / "exit.json") or {})
        if watched:
            return Sight(Stage.RUNNING)
        lock = os.open(path / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Another prober may hold it, and the number may be that of a process long gone.
                text = os.pread(lock, 32, 0)
                known = text.isdigit() and _carries_mark(int(text), path)
                return Sight(Stage.RUNNING, pid=int(text) if known else None)
            # The lock is ours: no supervisor lives, and none can begin while we look.
            ending = read_json(path / "exit.json")
            if ending is not None:
                return Sight(Stage.OVER, ending=ending)
            if not (path / "started").exists():
                return Sight(Stage.UNSTARTED)
            kill_strays(path)
            ending = {
                "exit_code": None,
                "signal": None,
                "started_at": int((path / "started").read_text() or 0) or None,
                "finished_at": time.time_ns() // 1000,
                "killed_for": "vanished",
                "last_words": _last_line(path / "supervisor.log"),
            }
            write_durably(path / "exit.json", json.dumps(ending))
            return Sight(Stage.OVER, ending=ending)
        finally:
            os.close(lock)

    def remove_older(self, seconds: float) -> None:
        """Remove attempts whose end is longer ago than this."""
        limit = time.time() - seconds
        for ending in self.attempts.glob("*/*/*/exit.json"):
            with contextlib.suppress(OSError):
                if ending.stat().st_mtime < limit:
                    shutil.rmtree(ending.parent)


def _last_line(path: Path) -> str:
    """What a supervisor said last; empty if it said nothing."""
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line[:300] for line in reversed(lines) if line.strip()), "")


def _carries_mark(pid: int, path: Path) -> bool:
    """Whether a living process belongs to this attempt."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={path}".encode() in environment.split(b"\0")


def kill_strays(path: Path) -> None:
    """End every process that carries this attempt's mark, and wait until none is left."""
    give_up_at = time.monotonic() + 10.0
    while time.monotonic() < give_up_at:
        found = False
        for name in os.listdir("/proc"):  # noqa: PTH208
            if not name.isdigit() or int(name) == os.getpid():
                continue
            if _carries_mark(int(name), path):
                found = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name), signal.SIGKILL)
        if not found:
            return
        time.sleep(0.02)
