"""What can go wrong in a call, as exceptions for people.

The daemon tells its reason in `google.rpc.ErrorInfo` (AIP-193); the class follows from that
reason, or from the gRPC status code where the daemon could not say anything.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cmd_api.v1.campaign_pb2 import Problem

DOMAIN = "cmd-daemon"


class CmError(Exception):
    """A call that did not succeed.

    `message` is for people; `reason` is the daemon's fixed word (empty if it gave none); `code` is
    the gRPC status; `metadata` holds the daemon's further facts, such as state and event.
    """

    def __init__(
        self,
        message: str,
        reason: str = "",
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})


class NotFound(CmError):
    """There is nothing of that name."""


class InvalidArgument(CmError):
    """The daemon could not make sense of the request."""


class InvalidName(InvalidArgument):
    """A resource name that is none."""


class InvalidCampaignFile(InvalidArgument):
    """A campaign file with `problems`, all of them."""

    problems: Sequence[Problem] = ()


class StateRefused(CmError):
    """The entity's state does not allow that now; metadata has `state` and `event`."""


class EtagMismatch(CmError):
    """It was changed by someone else in between: read it again."""


class RequestIdReused(CmError):
    """The same request_id came with another request."""


class HistoryGone(CmError):
    """The resume token is too old: list the entities again and watch from now on."""


class WatcherTooSlow(CmError):
    """The daemon ended a watch that did not keep up; it can be resumed."""


class NotAccepting(CmError):
    """The daemon runs but takes no changes now (disk full, database locked, stopping)."""


class DaemonUnavailable(CmError):
    """No daemon answered at the address, or the connection broke."""


class SocketForbidden(DaemonUnavailable):
    """This account may not open the daemon's socket."""


class DeadlineExceeded(CmError):
    """No answer within the call's deadline; a change may have happened all the same."""


class PermissionDenied(CmError):
    """The caller's role does not allow that."""


class NotAuthenticated(PermissionDenied):
    """The daemon does not know who calls: no token, or one that cannot be used; the message says why.
    Without a token, metadata has `issuer`, `client_id`, `scope` and `audience` to get one with."""


class LimitReached(CmError):
    """More at a time, or more in one message, than one caller may."""


class Interrupted(CmError):
    """The call was ended before it had an answer."""


class DriverFailed(CmError):
    """The system at the facility that was asked (for a log, for parts) did not answer well."""


_BY_REASON: dict[str, type[CmError]] = {
    "NOT_FOUND": NotFound,
    "INVALID_ARGUMENT": InvalidArgument,
    "INVALID_NAME": InvalidName,
    "INVALID_CAMPAIGN_FILE": InvalidCampaignFile,
    "STATE_REFUSED": StateRefused,
    "ETAG_MISMATCH": EtagMismatch,
    "REQUEST_ID_REUSED": RequestIdReused,
    "RESUME_TOKEN_TOO_OLD": HistoryGone,
    "WATCHER_TOO_SLOW": WatcherTooSlow,
    "NOT_ACCEPTING": NotAccepting,
    "ISSUER_UNREACHABLE": NotAuthenticated,
    "DRIVER_FAILED": DriverFailed,
    "NO_DRIVER": StateRefused,
    "FACILITY_UNFIT": StateRefused,
}

_BY_CODE: dict[grpc.StatusCode, type[CmError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAVAILABLE: DaemonUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitReached,
    grpc.StatusCode.CANCELLED: Interrupted,
}


def error_of(failure: grpc.RpcError, address: str) -> CmError:
    """The exception for a failed gRPC call (sync or async) to a daemon at `address`."""
    code = failure.code() or grpc.StatusCode.UNKNOWN
    message = failure.details() or ""
    reason = ""
    metadata: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        status = rpc_status.from_call(cast("grpc.Call", failure))
    except ValueError:  # details that contradict the status: trust the status
        status = None
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
        elif detail.Is(Problem.DESCRIPTOR):
            problem = Problem()
            if detail.Unpack(problem):
                problems.append(problem)
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, CmError)
    if kind is DaemonUnavailable:
        cause = message.rpartition("error: ")[2]  # of gRPC's chain of causes the innermost
        message = f"No daemon answers at {address} ({cause})."
        if "Permission denied" in cause:
            kind, message = SocketForbidden, _forbidden(address)
    elif kind is DeadlineExceeded:
        message = f"The daemon at {address} did not answer in time."
    error = kind(message or f"{code.name} without a message", reason, code, metadata)
    if isinstance(error, InvalidCampaignFile):
        error.problems = problems
    return error


def _forbidden(address: str) -> str:
    path = Path(address.removeprefix("unix:"))
    try:
        users = f"root, the user {path.owner()!r} and the group {path.group()!r}"
    except (OSError, KeyError):
        users = "its owner and its group"
    return f"Your account may not open the daemon's socket {path}: it is for {users}."


def connection_lost(error: CmError) -> bool:
    """Whether the error is a broken or missing connection, or a daemon that is busy restarting."""
    return isinstance(error, DaemonUnavailable | NotAccepting | Interrupted)
