"""The agent of BPS workflows at a facility: plants attempts, has them worked on, and tells of them.

    python bps_agent.py --work-dir DIR --workers N

It is shipped with the files of `butler_agent.py` and `process_runner.py`, and speaks as
`butler_agent.py` does. The work on an attempt (`bps_attempt.py`) is done by processes that it forks, so
that the stack is imported once, and that outlive it and the connection. Nothing is done twice however
often it is asked: an attempt is a directory whose name follows from its key, and whoever works on it holds
its lock.

Below the work directory:

    attempts/REF/  one directory for each attempt, renamed into place when complete
    open/NAME      markers of attempts that may have to be worked on
    fence          the token of the agent that may plant: one started later shuts out the others
    plant.lock, tmp/
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import butler_agent
from agent_requests import Arguments, Repositories, RequestError
from bps_attempt import is_worked_on, read_json, work_on

LOG_READ = 4 * 1024 * 1024
LOGS = ("log.txt",)
BUSY_STAGES = ("planted", "graph", "sending", "waiting")


class Attempts:
    """The work directory, and the processes of this agent that work in it."""

    def __init__(self, root: Path, workers: int) -> None:
        self._root = root
        self._workers = workers
        self._children: set[int] = set()
        self._token = secrets.token_hex(16)
        for name in ("attempts", "open", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._planting():
            write_durably(root / "fence", self._token)
            for left in (root / "tmp").iterdir():
                shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _planting(self) -> Iterator[None]:
        with (self._root / "plant.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def directory(self, ref: str) -> Path:
        """Return an attempt's directory; RequestError for a name that leads elsewhere."""
        parts = ref.split("/")
        if not ref or any(part.startswith(".") or not part for part in parts):
            raise RequestError(f"{ref!r} is no attempt's name")
        return self._root.joinpath("attempts", *parts)

    def plant(self, orders: list[dict[str, Any]]) -> None:
        """Make the directories of attempts; those that are there are left as they are."""
        with self._planting():
            # A request of a daemon that lost its connection may be read late.
            if (self._root / "fence").read_text() != self._token:
                raise RequestError("another agent has taken over", "Transient")
            for order in orders:
                final = self.directory(str(order["ref"]))
                if not final.is_dir():
                    self._make(final, order)

    def _make(self, final: Path, order: dict[str, Any]) -> None:
        partial = self._root / "tmp" / final.name
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        runner = {**order["runner"], "work_dir": str(final)}
        plan = {**order["plan"], "ref": order["ref"], "planted_at": time.time()}
        runner["previous_graphs"] = [
            str(self.directory(former) / "graph.qg") for former in order["former"]
        ]
        write_durably(partial / "runner.json", json.dumps(runner, indent=1))
        write_durably(partial / "plan.json", json.dumps(plan, indent=1))
        (partial / "lock").touch()
        final.parent.mkdir(parents=True, exist_ok=True)
        (self._root / "open" / final.name).write_text(str(order["ref"]))
        partial.rename(final)
        for place in (final.parent, final.parent.parent, self._root / "attempts"):
            sync(place)

    def tell(self, ref: str) -> dict[str, Any]:
        """Return how far an attempt is."""
        directory = self.directory(ref)
        if not directory.is_dir():
            return {"stage": "missing"}
        record = read_json(directory / "record.json") or {"stage": "planted"}
        outcome = read_json(directory / "outcome.json")
        if outcome is not None:
            record.update(stage="over", outcome=outcome)
        record["cancelled"] = (directory / "cancel").exists()
        record["finish"] = read_json(directory / "finish.json")
        return {**record, "path": str(directory)}

    def bring_on(self) -> None:
        """Start as much work as there is room for, the oldest first."""
        self._reap()
        waiting: list[tuple[float, Path]] = []
        busy = 0
        for marker in (self._root / "open").iterdir():
            directory = self.directory(marker.read_text())
            due = due_at(directory)
            if due is None:
                marker.unlink(missing_ok=True)
            elif is_worked_on(directory):
                busy += 1
            elif due <= time.time():
                waiting.append((due, directory))
        for _, directory in sorted(waiting)[: max(0, self._workers - busy)]:
            self._children.add(start_work(directory))

    def _reap(self) -> None:
        for child in list(self._children):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(child, os.WNOHANG)[0] == 0:
                    continue
            self._children.discard(child)

    def open(self, ref: str) -> None:
        """Have an attempt worked on again."""
        directory = self.directory(ref)
        (self._root / "open" / directory.name).write_text(ref)


def due_at(directory: Path) -> float | None:
    """Return when there is work on an attempt (seconds since the epoch), None if there is none."""
    if not directory.is_dir() or (directory / "outcome.json").exists():
        return None
    record = read_json(directory / "record.json") or {"stage": "planted"}
    finishing = (directory / "finish.json").exists()
    if record["stage"] not in BUSY_STAGES and not finishing:
        return None
    unsent = record.get("sending_at") is None
    if record["stage"] == "waiting" and not (unsent and (directory / "cancel").exists()):
        return float(record.get("not_before") or 0.0)
    return (directory / "plan.json").stat().st_mtime


def start_work(directory: Path) -> int:
    """Fork a process that works on an attempt; return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        log = os.open(directory / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 1024)
        os.chdir(directory)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
        log_to_stderr()
        work_on(directory)
        status = 0
    except BaseException:  # noqa: BLE001 - told in the log, and done again
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def log_to_stderr() -> None:
    """Have all that is logged in the attempt's own log."""
    import logging

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )


def write_durably(path: Path, text: str) -> None:
    """Replace a file at once and for good."""
    partial = path.with_name(f".{path.name}.new")
    with partial.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
    sync(path.parent)


def sync(directory: Path) -> None:
    """Make new names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Operations:
    """What the agent can be asked, beside what `butler_agent.py` can."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def plant(self, _: Repositories, arguments: Arguments) -> dict[str, Any]:
        """{orders: [{ref, runner, plan, former}]} -> {}: the attempts are there, and are worked on.

        ``runner`` is the order of `process_runner.py` without ``work_dir`` and ``previous_graphs``,
        ``former`` lists the attempts whose graphs these are, oldest first.
        """
        orders = arguments.objects("orders")
        arguments.finish()
        self._attempts.plant(orders)
        self._attempts.bring_on()
        return {}

    def find(self, _: Repositories, arguments: Arguments) -> dict[str, Any]:
        """{refs} -> {held}: which attempts are here."""
        refs = arguments.strings("refs")
        arguments.finish()
        return {"held": [ref for ref in refs if self._attempts.directory(ref).is_dir()]}

    def look(self, _: Repositories, arguments: Arguments) -> dict[str, Any]:
        """{refs} -> {seen: {ref: record}}: how far attempts are; work that was cut off goes on."""
        refs = arguments.strings("refs")
        arguments.finish()
        self._attempts.bring_on()
        return {"seen": {ref: self._attempts.tell(ref) for ref in refs}}

    def finish(self, _: Repositories, arguments: Arguments) -> dict[str, Any]:
        """{attempts: [{ref, ...}]} -> {}: their workflows are over, count their quanta.

        What is told beside ``ref`` is kept as ``finish.json``, the first time.
        """
        asked = arguments.objects("attempts")
        arguments.finish()
        for each in asked:
            directory = self._attempts.directory(str(each["ref"]))
            if directory.is_dir() and not (directory / "finish.json").exists():
                write_durably(directory / "finish.json", json.dumps(each))
            self._attempts.open(str(each["ref"]))
        self._attempts.bring_on()
        return {}

    def cancel(self, _: Repositories, arguments: Arguments) -> dict[str, Any]:
        """{refs} -> {}: nothing more is sent for them; what is sent already is not touched here."""
        refs = arguments.strings("refs")
        arguments.finish()
        for ref in refs:
            directory = self._attempts.directory(ref)
            if directory.is_dir():
                (directory / "cancel").touch()
                end_building(directory)
        self._attempts.bring_on()
        return {}

    def read_log(self, _: Repositories, arguments: Arguments) -> dict[str, Any]:
        """{ref, offset} -> {offset, text, size, over}: a piece of the log of the work on an attempt
        from an offset (negative: from the end).
        """
        ref = arguments.text("ref")
        from_end = arguments.flag("from_end", False)
        given = arguments.number("offset", 0) or 0
        arguments.finish()
        directory = self._attempts.directory(ref)
        if not directory.is_dir():
            raise RequestError(f"there is no attempt directory {directory}")
        over = (directory / "outcome.json").exists()
        log = directory / "log.txt"
        size = log.stat().st_size if log.exists() else 0
        offset = max(0, size - given) if from_end else given
        data = b""
        if offset < size:
            with log.open("rb") as source:
                source.seek(offset)
                data = source.read(LOG_READ)
        # Bytes as they are: JSON has no others.
        return {"offset": offset, "text": data.decode("latin-1"), "size": size, "over": over}


def end_building(directory: Path) -> None:
    """End work on an attempt that was not sent: building a graph may take hours."""
    record = read_json(directory / "record.json") or {}
    if record.get("stage") == "graph" and is_worked_on(directory):
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int((directory / "lock").read_text()), signal.SIGTERM)


def main() -> int:
    """Serve until the input ends; return the exit status."""
    parser = argparse.ArgumentParser(description="BPS workflows over JSON lines.")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2, help="attempts worked on at a time")
    options = parser.parse_args()
    # Imported once, before "ready"; what is forked has them.
    import lsst.ctrl.bps.drivers
    import lsst.ctrl.bps.panda
    import lsst.ctrl.mpexec.cli.cmd
    import lsst.pipe.base.quantum_graph  # noqa: F401

    operations = Operations(Attempts(options.work_dir.absolute(), options.workers))
    butler_agent.OPERATIONS.update(
        {
            name: getattr(operations, name)
            for name in ("plant", "find", "look", "finish", "cancel", "read_log")
        }
    )
    return butler_agent.main([])


if __name__ == "__main__":
    sys.exit(main())
