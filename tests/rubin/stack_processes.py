"""Programs of the Rubin stack as processes: how the tests in this folder start them and talk to
them.
"""

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SKY = ROOT / "examples" / "demo" / "sky"
PIPELINE = ROOT / "examples" / "demo" / "pipeline"
STACK_PROGRAMS = ROOT / "plugins" / "cmd_local" / "stack"
DEADLINE = 100.0
"""Seconds that any single process or answer may take; reached only if something hangs."""


@dataclass
class Facility:
    """A Python with the Rubin stack, and a Butler repository of its own."""

    python: Path
    repo: Path
    truth: Path
    work: Path

    def environment(self) -> dict[str, str]:
        """Return the environment in which a facility runs the demo's pipeline."""
        return {
            **os.environ,
            "DEMO_PIPE_DIR": str(PIPELINE),
            "PYTHONPATH": str(PIPELINE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the stack's Python to its end."""
        return subprocess.run(
            [str(self.python), *map(str, arguments)],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def python_code(self, code: str, *arguments: str) -> str:
        """Run a few lines of Python with the stack; return what they print."""
        done = self.run("-c", code, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def order(self, name: str, **changes: Any) -> "OrderFile":
        """Write an order for the process runner: the calibrate step of all visits unless changed."""
        work_dir = self.work / name
        content = {
            "key": f"demo/{name}#1",
            "butler": str(self.repo),
            "pipeline": "$DEMO_PIPE_DIR/demo.yaml#calibrate",
            "where": "instrument='DemoCam'",
            "inputs": ["DemoCam/defaults"],
            "output_run": f"u/{name}",
            "work_dir": str(work_dir),
            **changes,
        }
        path = self.work / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return OrderFile(self, path, work_dir)


@dataclass
class OrderFile:
    """An order of the process runner, and what comes of it."""

    facility: Facility
    path: Path
    work_dir: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[str]:
        """Start the runner without waiting for it."""
        with (self.path.with_suffix(".log")).open("a") as log:
            process = subprocess.Popen(
                [
                    str(self.facility.python),
                    str(STACK_PROGRAMS / "process_runner.py"),
                    str(self.path),
                ],
                env=self.facility.environment(),
                stdout=log,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        return process

    def do(self) -> int:
        """Run the runner to its end; return its exit status."""
        return self.start().wait(DEADLINE)

    def log(self) -> str:
        """Return all that the runner's processes printed."""
        return self.path.with_suffix(".log").read_text()

    def outcome(self) -> dict[str, Any]:
        """Return the outcome."""
        content = json.loads((self.work_dir / "outcome.json").read_text())
        assert isinstance(content, dict)
        return content

    def wait_for_progress(self, phase: str, done: int) -> dict[str, Any]:
        """Wait until the runner tells that it is in a phase and has done some quanta."""
        end = time.monotonic() + DEADLINE
        pause = threading.Event()
        while time.monotonic() < end:
            assert self.processes[-1].poll() is None, self.log()
            try:
                progress = json.loads((self.work_dir / "progress.json").read_text())
            except FileNotFoundError:
                progress = {}
            if progress.get("phase") == phase and progress["done"] >= done:
                return dict(progress)
            pause.wait(0.02)
        raise AssertionError(
            f"no {phase} with {done} quanta done within {DEADLINE} s: {self.log()}"
        )


class Agent:
    """A running agent and its protocol."""

    def __init__(self, facility: Facility, repos: dict[str, Path]) -> None:
        self._process = subprocess.Popen(
            [
                str(facility.python),
                str(STACK_PROGRAMS / "butler_agent.py"),
                *(f"--repo={label}={path}" for label, path in repos.items()),
            ],
            env=facility.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._count = 0
        self.ready = self.next_answer()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def send(self, line: bytes) -> None:
        """Send a raw line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def next_answer(self) -> dict[str, Any]:
        """Return the next line of the agent."""
        line = self._lines.get(timeout=DEADLINE)
        assert line, "the agent ended"
        content = json.loads(line)
        assert isinstance(content, dict)
        return content

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask for an operation; return the whole answer."""
        self._count += 1
        request = {"id": self._count, "op": operation, "args": arguments}
        self.send(json.dumps(request).encode())
        answer = self.next_answer()
        assert answer["id"] == self._count
        return answer

    def result(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask for an operation that must succeed; return its result."""
        answer = self.ask(operation, **arguments)
        assert answer["ok"], answer
        return dict(answer["result"])

    def error(self, operation: str, **arguments: Any) -> dict[str, str]:
        """Ask for an operation that must fail; return its error."""
        answer = self.ask(operation, **arguments)
        assert not answer["ok"], answer
        return dict(answer["error"])

    def end(self) -> int:
        """Close the agent's input; return its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status


def copy_facility(source: Facility, directory: Path) -> Facility:
    """Return a facility with a copy of the repository, for a test that changes it."""
    repo = directory / "repo"
    shutil.copytree(source.repo, repo)
    return Facility(source.python, repo, source.truth, directory / "work")
