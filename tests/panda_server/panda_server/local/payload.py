"""One job on its worker node: `payload.py DIRECTORY`. It notes in the ledger that it begins, runs the
command of `job.json` in `work`, and leaves `report.json`. It outlives the server that started it."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def started(pid: int) -> str:
    """When a process began, in the kernel's ticks: with its number it names one process only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def write(file: Path, value: Any) -> None:
    """Write JSON so that it is there whole or not at all."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(value))
    fresh.replace(file)


def note(ledger: str, entry: dict[str, Any]) -> None:
    """One line of the ledger; a short line is written at once."""
    line = json.dumps(entry | {"at": time.time()}) + "\n"
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, line.encode())
    os.close(handle)


def last_words(file: Path) -> str:
    """The last line that says something."""
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def main(home: Path) -> None:
    """Run the job of a directory."""
    job = json.loads((home / "job.json").read_text())
    write(home / "process.json", [os.getpid(), started(os.getpid())])
    note(job["ledger"], job["entry"])
    work = home / "work"
    work.mkdir()
    begun = time.monotonic()
    with (home / "payload.stdout").open("wb") as out, (home / "payload.stderr").open("wb") as err:
        child = subprocess.Popen(
            job["command"],
            cwd=work,
            env=job["env"] | {"PILOT_HOME": str(work)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )

        def end(*_: Any) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

        signal.signal(signal.SIGTERM, end)
        code = child.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {
        "exit_code": code if code >= 0 else 128 - code,
        "cpu": round(used.ru_utime + used.ru_stime),
        "max_rss": used.ru_maxrss,
        "said": last_words(home / "payload.stderr") or last_words(home / "payload.stdout"),
    }
    lines = [f"{name}: {value}" for name, value in job["entry"].items()]
    lines += [f"payload ended after {time.monotonic() - begun:.1f} s: {report}"]
    (home / "pilotlog.txt").write_text("\n".join(lines) + "\n")
    write(home / "report.json", report)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
