"""Stands between the far machine's Python and the network: kills the server's side of the
connection before or after the command that plants, and lets the command itself go on.

    python cutting_python.py ROOT PYTHON ARGUMENTS...
"""

import json
import os
import signal
import subprocess
import sys
import time


def cut() -> None:
    """Kill the sshd process of this connection: the next one upwards. The stand-in serves all
    connections by one process, which cuts them all when asked."""
    pid = os.getppid()
    while pid > 1:
        with open(f"/proc/{pid}/stat", "rb") as source:  # noqa: PTH123
            name, _, rest = source.read().rpartition(b")")
        with open(f"/proc/{pid}/cmdline", "rb") as source:  # noqa: PTH123
            stand_in = b"stand_in_sshd" in source.read()
        if stand_in or b"sshd" in name:
            os.kill(pid, signal.SIGUSR1 if stand_in else signal.SIGKILL)
            return
        pid = int(rest.split()[1])


def main() -> int:
    root, python, *arguments = sys.argv[1:]
    request = sys.stdin.buffer.read()
    late = os.path.exists(f"{root}/cut-before")  # noqa: PTH110
    planting = json.loads(request)["verb"] == "plant"
    if planting and late:
        cut()
        while os.path.exists(f"{root}/cut-before"):  # noqa: PTH110
            time.sleep(0.02)
    done = subprocess.run([python, *arguments], input=request, capture_output=True, check=False)
    if planting and late:
        with open(f"{root}/late-answer", "wb") as out:  # noqa: PTH123
            out.write(done.stdout)
        return 0
    if planting:
        cut()
        return 0
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
