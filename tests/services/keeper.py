"""Clears up when the one who started the services dies, even by kill -9: its end of the pipe closes then.

Reads lines: `+PID` and `-PID`, a process group that lives or has ended; `>DIR` and `<DIR`, a
directory that is to be deleted or is gone.
"""

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    """Listen until the pipe closes, then kill and delete what is left."""
    left: dict[str, set[str]] = {"+": set(), ">": set()}
    for line in sys.stdin:
        sign, what = line[0], line[1:].strip()
        if sign in left:
            left[sign].add(what)
        else:
            left["+" if sign == "-" else ">"].discard(what)
    for group in left["+"]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(group), signal.SIGKILL)
    for directory in left[">"]:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
