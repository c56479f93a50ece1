"""The Rubin stack and a small sky at the far machine: process jobs for real."""

import itertools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from far_machine import FarMachine

from cmd_daemon.hooks import JobKind, JobOrder
from cmd_daemon.testing import facility_info
from cmd_housekeeping.ssh_driver import SshDriver, SshFactory

ROOT = Path(__file__).resolve().parents[2]
SKY = ROOT / "examples" / "demo" / "sky"
PIPELINE = ROOT / "examples" / "demo" / "pipeline"
FAULTS = "calibrateImage:faults."
DEADLINE_S = 100.0
NUMBERS = itertools.count(1)


def rubin_python() -> Path:
    """The Python with the Rubin stack (CMD_RUBIN_PYTHON, else .venv-rubin beside the sources)."""
    python = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
    if not python.is_file():
        pytest.fail(f"{python} is not there: run `make rubin`, or set CMD_RUBIN_PYTHON")
    return python


def make_sky(repo: Path) -> None:
    """Make a repository with the smallest sky: 4 visits of 2 detectors."""
    argv = [str(rubin_python()), str(SKY / "make_sky.py"), "--repo", str(repo), "--small"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr


class FarStack:
    """A far machine with the stack and a repository of its own."""

    def __init__(self, far: FarMachine, sky: Path) -> None:
        self.far = far
        self.repo = far.root / "repo"
        shutil.copytree(sky, self.repo)
        self.python = str(rubin_python())

    def driver(self, **changes: Any) -> SshDriver:
        """A new driver, not started."""
        facility = facility_info(
            "FAR", stacks={"w_1": self.python}, butlers={"main": str(self.repo)}
        )
        environment = {
            "DEMO_PIPE_DIR": str(PIPELINE),
            "PYTHONPATH": str(PIPELINE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        settings = self.far.settings(**{"pipeline_env": environment, **changes})
        return SshFactory().create(facility, settings, self.far.host)


def process_order(number: int | None = None, attempt: int = 1, **fields: Any) -> JobOrder:
    """An order for the calibration of all visits; `config` goes to its parameters."""
    number = number or next(NUMBERS)
    params = {
        "pipeline": "$DEMO_PIPE_DIR/demo.yaml#calibrate",
        "config": fields.pop("config", {}),
    }
    return JobOrder(
        key=f"camp/step/{number:04d}/process#{attempt}",
        campaign="camp",
        step="step",
        group=f"{number:04d}",
        job="process",
        attempt=attempt,
        kind=JobKind.PROCESS,
        facility="FAR",
        **{
            "stack": "w_1",
            "butler": "main",
            "params": params,
            "where": "instrument='DemoCam'",
            "inputs": ("DemoCam/defaults",),
            "output_run": f"u/step/{number:04d}/a{attempt}",
            "walltime_s": 100.0,
            "memory": 4 * 1024**3,
            **fields,
        },
    )
