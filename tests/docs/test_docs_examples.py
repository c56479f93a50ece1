"""The examples marked as tested run, against a real daemon."""

import os
import subprocess
import sys
from pathlib import Path

from docs_daemon import daemon
from docs_pages import PAGES, ROOT, blocks

CONFIGURATION = """
plugins = ["local", "facility", "fakes"]

[facility.USDF]
slots = 10
butlers = { dp2 = "nowhere" }
stacks = { w_2026_46 = "python3" }
drivers = { process = "null", collect = "null" }
"""


def test_python_examples_run(tmp_path: Path) -> None:
    ran = []
    with daemon(tmp_path, CONFIGURATION) as address:
        for page in PAGES:
            for number, code in enumerate(
                blocks(page.read_text(encoding="utf-8"), "python tested")
            ):
                done = subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "CM_ADDRESS": address},
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=False,
                )
                name = f"{page.relative_to(ROOT)}, example {number + 1}"
                assert done.returncode == 0, f"{name}:\n{done.stderr}"
                ran.append((name, done.stdout))
    first, second = (output for _, output in ran)
    assert "2 groups, 4 jobs" in first
    assert "campaigns/example RUNNING -> ACCEPTED" in first
    assert "ACCEPTED\n" in first.splitlines()[-1] + "\n"
    assert "campaigns/example ACCEPTED" in second
