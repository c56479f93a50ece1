"""The Rubin stack of tests that do real Butler work."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def rubin_python() -> Path:
    """The Python with the stack (CMD_RUBIN_PYTHON, else .venv-rubin beside the sources). Raises
    FileNotFoundError if it is not installed."""
    python = Path(os.environ.get("CMD_RUBIN_PYTHON", ROOT / ".venv-rubin" / "bin" / "python"))
    if not python.is_file():
        raise FileNotFoundError(f"{python} is not there: run `make rubin`, or set CMD_RUBIN_PYTHON")
    return python
