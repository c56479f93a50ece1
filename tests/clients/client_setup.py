"""What the tests of the clients share: waiting for a state, and running `cm` in a process."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

from cm_cli.main import main

DEADLINE = 20.0


SCHEDULE = """\
schedule: {name}
owner: pilot1
cron: "0 6 1 * *"
zone: America/Los_Angeles
template: small.yaml
stacks: w*
matrix: {{FACILITY: [USDF, FrDF]}}
"""

TEMPLATE = """\
campaign: {name}-${{FACILITY}}-${{DATE}}-${{TIME}}
owner: pilot1
stack: ${{STACK}}
butler: {{repo: demo, inputs: [a], output: "u/me/{name}/${{FACILITY}}/${{DATE}}${{TIME}}"}}
facilities: ["${{FACILITY}}"]
steps: {{one: {{pipeline: x.yaml#a, params: {{fake: {{quanta: {{isr: [1, 1]}}}}}}}}}}
"""
"""The template of that schedule."""


def wait_until(true: Callable[[], Any]) -> None:
    """Poll until it holds; fails after the deadline."""
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


async def until(true: Callable[[], Any]) -> None:
    """The same without blocking the event loop."""
    await asyncio.wait_for(asyncio.to_thread(wait_until, true), DEADLINE + 1)


class Cm:
    """Runs `cm` in a process of its own against one daemon."""

    def __init__(self, address: str) -> None:
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "NO_COLOR"},
            "CM_ADDRESS": address,
            "CM_ACTOR": "tester",
            "COLUMNS": "80",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Begin it, with pipes."""
        return subprocess.Popen(
            [sys.executable, "-m", "cm_cli", *arguments],
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            text=True,
            errors="surrogateescape",
            env=self.environment,
            **more,
        )

    def here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it in this process, which is much quicker, with the same environment and no terminal."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch.object(sys, "stdin", io.StringIO()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(arguments)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(arguments, code, *texts)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)
