"""The caller of the call under way."""

from contextvars import ContextVar
from dataclasses import dataclass

from cmd_daemon.api.identity.roles import Role
from cmd_daemon.kernel.records import AuditRow

SOCKET = "socket"
CERTIFICATE = "certificate"
TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, by what proof, and what they may do. `until` is the end of the token in seconds since
    the epoch, None where there is none; `groups` is what the role follows from."""

    who: str
    proof: str
    role: Role
    groups: tuple[str, ...] = ()
    until: float | None = None


@dataclass(slots=True)
class Calling:
    """A call under way. `audit` is the row that is written about it, None for a call that only reads."""

    caller: Caller
    peer: str
    audit: AuditRow | None = None

    def names(self, name: str) -> None:
        """The call is about the resource of this name."""
        if self.audit is not None:
            self.audit.name = name[:1000]
            collection, _, rest = self.audit.name.partition("/")
            self.audit.campaign = rest.partition("/")[0] if collection == "campaigns" else ""


_calling: ContextVar[Calling] = ContextVar("calling")


def calling() -> Calling:
    """The call under way. Raises LookupError outside of one."""
    return _calling.get()


def begin(call: Calling) -> None:
    """This call is under way from now on, in the task that serves it."""
    _calling.set(call)
