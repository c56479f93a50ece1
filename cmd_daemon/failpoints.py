"""Failpoints: named places where a crash test may kill the daemon. Do nothing in production.

The environment variable CMD_FAILPOINT holds `name` or `name:n`: the process kills itself with SIGKILL
when the place is reached for the n-th time. With `name:n:freeze` it stops itself with SIGSTOP instead.
"""

import os
import signal

_name, _count, _how = [*os.environ.get("CMD_FAILPOINT", "").split(":"), "", ""][:3]
_left = int(_count) if _count.isdigit() else 1

NAMES = (
    "before-commit",
    "after-commit",
    "before-submit",
    "after-submit",
    "before-answer",
    "before-control",
    "after-control",
    "after-chunk",
)


def failpoint(name: str) -> None:
    """Die here if the test asked for it."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGSTOP if _how == "freeze" else signal.SIGKILL)
