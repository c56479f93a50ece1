"""Programs of ours that run at facilities: their files, which Python runs them, and how.

The files travel to the facility by its transport's `install`; they need nothing of the daemon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo
from cmd_local.settings import AgentSettings

STACK = Path(__file__).parent / "stack"
AGENT = (
    "butler_agent.py",
    "agent_requests.py",
    "agent_inputs.py",
    "butler_datasets.py",
    "butler_moving.py",
)
FILE_SERVER = "file_server.py"


@dataclass(frozen=True, slots=True)
class Program:
    """A program to be started: its files by name, the main one, its Python, arguments and what is
    added to the environment."""

    files: Mapping[str, bytes]
    main: str
    python: str
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def path(self, folder: str) -> str:
        """Where the main file lies once installed."""
        return f"{folder}/{self.main}"

    def argv(self, folder: str) -> list[str]:
        """The command that starts it from the folder it was installed in."""
        return [self.python, self.path(folder), *self.arguments]


def agent_program(facility: FacilityInfo, settings: AgentSettings) -> Program:
    """The facility's Butler agent. Raises DriverError PERMANENT if the facility's configuration does
    not say which stack to use, or its program cannot be read."""
    python = stack_python(facility, settings)
    if python is None:
        has = ", ".join(sorted(facility.stacks)) or "none"
        what = f"names the stack '{settings.stack}'" if settings.stack else "names no stack"
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name}: its agent {what}, the facility has: {has}; "
            "set agent.stack in the facility's configuration",
        )
    paths = [settings.program] if settings.program else [STACK / name for name in AGENT]
    try:
        files = {path.name: path.read_bytes() for path in paths}
    except OSError as error:
        raise DriverError(
            ErrorClass.PERMANENT,
            f"facility {facility.name}: the program of its agent cannot be read: {error}",
        ) from error
    repos = [f"--repo={label}={path}" for label, path in sorted(facility.butlers.items())]
    env = {**settings.env, "PYTHONUNBUFFERED": "1"}
    return Program(files, paths[0].name, python, repos, env)


def file_server_program(facility: FacilityInfo, settings: AgentSettings) -> Program:
    """The server of a facility's files: any Python does, the agent's is known to be there."""
    python = stack_python(facility, settings) or "python3"
    return Program({FILE_SERVER: (STACK / FILE_SERVER).read_bytes()}, FILE_SERVER, python)


def stack_python(facility: FacilityInfo, settings: AgentSettings) -> str | None:
    """The Python of the stack that the settings name, or of the only one; None if that says none."""
    stack = settings.stack
    if stack is None and len(facility.stacks) == 1:
        stack = next(iter(facility.stacks))
    return facility.stacks.get(stack or "")
