"""Errors as clients see them: a gRPC status with google.rpc.ErrorInfo, in words for people."""

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from cmd_api.v1 import campaign_pb2
from cmd_daemon.spec import Problem

DOMAIN = "cmd-daemon"
DETAILS = "grpc-status-details-bin"


class ApiError(Exception):
    """Ends a call. `reason` is one of the fixed words of docs/api.md, `metadata` names the entity."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        details: Iterable[Message] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.details = tuple(details)

    def status(self) -> bytes:
        """The google.rpc.Status for the trailing metadata."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )
        status = status_pb2.Status(
            code=code_pb2.Code.Value(self.code.name), message=str(self)[:4000]
        )
        for detail in (info, *self.details):
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return bytes(status.SerializeToString())


def not_found(name: str) -> ApiError:
    """There is no such entity."""
    return ApiError(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", f"There is no {name}.", {"name": name})


def invalid(field: str, message: str) -> ApiError:
    """A field of the request cannot be used."""
    return ApiError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        f"{field}: {message}",
        {"field": field},
    )


def bad_file(problems: Iterable[Problem]) -> ApiError:
    """A campaign file with problems: all of them, each as a detail."""
    listed = list(problems)
    message = "; ".join(str(problem) for problem in listed[:5])
    more = f"; and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ApiError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_CAMPAIGN_FILE",
        f"{len(listed)} problems in the campaign file: {message}{more}",
        {"problems": str(len(listed))},
        [problem_message(problem) for problem in listed[:200]],
    )


def problem_message(problem: Problem) -> campaign_pb2.Problem:
    """A problem as clients get it."""
    return campaign_pb2.Problem(
        file=problem.file,
        line=problem.line or 0,
        column=problem.column or 0,
        field=problem.field,
        message=problem.message[:1000],
        hint=problem.hint or "",
    )
