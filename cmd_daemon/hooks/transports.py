"""How programs of ours are started at a facility: local process, ssh, and whatever a plugin brings.

One transport a facility, shared by everything of ours that runs there: the Butler agent, the file
server of the mover, scripts and processes. A plugin registers factories through
`cmd_register_transports`; the facility's configuration names one (`transport = "ssh"`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cmd_daemon.hooks.ports import FacilityInfo, Host


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended: its exit code (negative: the signal that ended it) and its output."""

    code: int
    stdout: bytes
    stderr: bytes


class FarProcess(Protocol):
    """A long-lived command at a facility that is spoken to over its input and output.

    Reading and writing raise DriverError UNKNOWN when the connection to it broke.
    """

    async def write(self, data: bytes) -> None:
        """Write to its input, as fast as it takes it."""

    async def readline(self) -> bytes:
        """The next line of its output, at most 64 MiB; empty at the end."""

    async def readexactly(self, size: int) -> bytes:
        """So many bytes of its output; fewer only at the end."""

    async def read_errors(self) -> bytes:
        """The next bytes of its standard error; empty at the end."""

    async def wait(self) -> int | None:
        """Wait for its end: the exit code, None if the connection was lost."""

    async def close(self) -> None:
        """End its input and turn away; a process of ours ends with its input. Ends it by force
        where that is possible and it goes on for two seconds."""


class Transport(Protocol):
    """The way to one facility.

    All methods raise DriverError: TRANSIENT when the facility cannot be reached (nothing was done
    then), PERMANENT for a credential or a host key that is wrong, UNKNOWN when the connection broke
    after a command was sent.
    """

    name: str

    async def open(self, argv: Sequence[str], env: Mapping[str, str]) -> FarProcess:
        """Start a long-lived command; `env` is added to the environment of the account there."""

    async def run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: bytes = b"",
        timeout_s: float = 60.0,
    ) -> Ran:
        """Run a short command to its end."""

    async def install(self, files: Mapping[str, bytes]) -> str:
        """Make sure that these files lie together in a folder at the facility, and return that
        folder. The folder's name follows from the content: asking again costs next to nothing."""

    async def close(self) -> None:
        """Let go of the facility; may be used again."""


class TransportFactory(Protocol):
    """Makes the transport of a facility. `name` is what the configuration says; the facility's own
    settings are its section of the same name."""

    name: str

    def create(self, facility: FacilityInfo, host: Host) -> Transport:
        """Make the transport; nothing is reached before its first use. Raises DriverError PERMANENT
        if the facility's section is wrong."""
