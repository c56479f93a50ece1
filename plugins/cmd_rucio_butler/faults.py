"""What errors of Rucio mean: try again, already done, a person has to act, or gone. Credentials that have
expired are both: somebody may be about to renew them, so they are tried again before a person is asked.

Errors are told apart by the names of their classes, so that nothing of Rucio is imported for it.
"""

from collections.abc import Iterable
from enum import Enum

from cmd_daemon.hooks import DriverError, ErrorClass, quoted


class Kind(Enum):
    """What is to be made of an error."""

    RETRY = "retry"
    DONE = "already done"
    OPERATOR = "operator"
    GONE = "gone"
    EXPIRED = "expired"

    @property
    def passes(self) -> bool:
        """Whether it may be over in a while."""
        return self in (Kind.RETRY, Kind.EXPIRED)


_KINDS = {
    Kind.EXPIRED: ("Expired",),
    Kind.DONE: (
        "DataIdentifierAlreadyExists",
        "FileAlreadyExists",
        "DuplicateRule",
        "DuplicateContent",
        "Duplicate",
    ),
    Kind.GONE: ("RuleNotFound", "DataIdentifierNotFound", "ReplicaNotFound", "RequestNotFound"),
    Kind.RETRY: (
        "ServerConnectionException",
        "DatabaseException",
        "ReplicationRuleCreationTemporaryFailed",
        "ServiceUnavailable",
        "ConnectionError",
        "Timeout",
        "ChunkedEncodingError",
        "JSONDecodeError",
        "StopIteration",
        "OSError",
    ),
    Kind.OPERATOR: (
        "InsufficientAccountLimit",
        "RSEOverQuota",
        "InsufficientTargetRSEs",
        "InvalidRSEExpression",
        "RSENotFound",
        "ScopeNotFound",
        "AccountNotFound",
        "AccessDenied",
        "CannotAuthenticate",
        "CannotAuthorize",
        "NoAuthInformation",
        "MissingClientParameter",
        "InvalidObject",
        "InvalidPath",
        "InvalidMetadata",
        "InputValidationError",
        "ManualRuleApprovalBlocked",
        "ReplicaIsLocked",
        "UnsupportedOperation",
        "UnsupportedStatus",
    ),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_CLASSES = {
    Kind.RETRY: ErrorClass.TRANSIENT,
    Kind.DONE: ErrorClass.TRANSIENT,
    Kind.OPERATOR: ErrorClass.PERMANENT,
    Kind.GONE: ErrorClass.TRANSIENT,
    Kind.EXPIRED: ErrorClass.PERMANENT,
}
_HINTS = {
    "InsufficientAccountLimit": "raise the account's limit at that RSE",
    "RSEOverQuota": "make room at that RSE",
    "CannotAuthenticate": "renew the credentials that the section 'rucio' names",
    "Expired": "renew it, then retry",
    "AccessDenied": "give the account the right to do so",
}
WORDS = 800


class RucioFault(DriverError):
    """Rucio answered with an error, or not at all. `name` is the class of Rucio's own exception."""

    def __init__(self, kind: Kind, name: str, message: str) -> None:
        super().__init__(_CLASSES[kind], message)
        self.kind = kind
        self.name = name


def kind_of(error: BaseException) -> Kind | None:
    """What is to be made of an exception of the Rucio client. One of Rucio that nobody has classed,
    such as an internal error of the server, is tried again. None: it is not Rucio's."""
    for each in type(error).__mro__:
        kind = _KIND_OF.get(each.__name__)
        if kind is not None:
            return kind
    root = type(error).__module__.partition(".")[0]
    return Kind.RETRY if root in ("rucio", "requests", "urllib3") else None


def fault_of(
    error: Exception, what: str, server: str, secrets: Iterable[str] = ()
) -> RucioFault | None:
    """The exception as ours: what was tried, at which server, and what to do, without the `secrets`. None:
    it is a defect and none of Rucio's."""
    name, kind = type(error).__name__, kind_of(error)
    if kind is None:
        return None
    said = " ".join(quoted(str(error), *secrets).split())
    hint = _HINTS.get(name)
    words = f"Rucio at {server}: {what}: {name}"
    if said:
        words += f": {said[:WORDS]}"
    if hint is not None:
        words += f" ({hint})"
    return RucioFault(kind, name, words)
