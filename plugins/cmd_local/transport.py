"""How a program is started at a facility. Here: as a process of this machine.

The one place that knows, so that an agent at a far facility differs only in this.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo
from cmd_local.settings import AgentSettings

AGENT = Path(__file__).parent / "stack" / "butler_agent.py"
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: its arguments and its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]


def agent_command(facility: FacilityInfo, settings: AgentSettings) -> Command:
    """The command that starts the facility's agent. Raises DriverError PERMANENT if the facility's
    configuration does not say which stack to use."""
    stack = settings.stack
    if stack is None and len(facility.stacks) == 1:
        stack = next(iter(facility.stacks))
    python = facility.stacks.get(stack or "")
    if python is None:
        has = ", ".join(sorted(facility.stacks)) or "none"
        what = f"names the stack '{stack}'" if stack else "names no stack"
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name}: its agent {what}, the facility has: {has}; "
            "set agent.stack in the facility's configuration",
        )
    repos = [f"--repo={label}={path}" for label, path in sorted(facility.butlers.items())]
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    argv = [python, str(settings.program or AGENT), *repos]
    return Command(argv, {**env, **settings.env, "PYTHONUNBUFFERED": "1"})
