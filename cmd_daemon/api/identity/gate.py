"""The gate each call goes through: who calls, whether they may, how much; and what is written of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time as wall
from typing import Any

import grpc

from cmd_daemon.api.errors import ApiError
from cmd_daemon.api.identity import caller as callers
from cmd_daemon.api.identity.auditing import Auditor, is_refusal
from cmd_daemon.api.identity.caller import Caller, Calling
from cmd_daemon.api.identity.door import Context, Door
from cmd_daemon.api.identity.limits import Limits
from cmd_daemon.api.identity.owners import Owners
from cmd_daemon.api.identity.roles import CHANGING, NEEDED, Role
from cmd_daemon.kernel.records import AuditRow

NAMED = 200
"""Characters of a request's words that go into the audit of a call that was refused at the gate."""


class Gate:
    """Lets calls through, one by one."""

    def __init__(self, door: Door, limits: Limits, auditor: Auditor, owners: Owners) -> None:
        self._door = door
        self.limits = limits
        self.auditor = auditor
        self._owners = owners

    @asynccontextmanager
    async def admit(
        self, path: str, request: Any, context: Context, stream: bool, now: int
    ) -> AsyncIterator[Calling]:
        """Within the block the call is under way. `path` is the method's, `now` in microseconds UTC.
        Raises ApiError if it is not let through; what the block raises must be an ApiError."""
        row = AuditRow(now, "", "", context.peer(), path.removeprefix("/cmd_api.v1."))
        call = Calling(Caller("", "", Role.NONE), row.peer, row)
        call.names(_word(request, "name"))
        row.reason, row.request_id = _word(request, "reason"), _word(request, "request_id")
        try:
            call.caller = await self._door.caller(context)
            row.who, row.proof = call.caller.who, call.caller.proof
            _check_role(call.caller, path)
            if path in CHANGING:
                await self._owners.check_named(call.caller, row.name)
            taken = self.limits.taken(call.caller, stream)
            taken.__enter__()
        except ApiError as error:
            self.auditor.refused(row, error)
            raise
        if path not in CHANGING or _word(request, "validate_only") or _word(request, "dry_run"):
            call.audit = None
        callers.begin(call)
        try:
            yield call
        except ApiError as error:
            if is_refusal(error):
                self.auditor.refused(row, error)
            elif call.audit is not None:
                await self.auditor.ended(row, error)
            raise
        else:
            if call.audit is not None:
                await self.auditor.ended(row, None)
        finally:
            taken.__exit__(None, None, None)


def check_time(caller: Caller) -> None:
    """Raises ApiError once the token of the caller is over: a stream may outlive it."""
    if caller.until is not None and wall() > caller.until:
        raise ApiError(
            grpc.StatusCode.UNAUTHENTICATED,
            "TOKEN_EXPIRED",
            "The token is over, and with it this stream. Get a new token: cm login.",
        )


def _check_role(caller: Caller, path: str) -> None:
    needed = NEEDED.get(path)
    if needed is not None and caller.role >= needed:
        return
    method = path.rpartition("/")[2]
    if needed is None:
        raise ApiError(
            grpc.StatusCode.PERMISSION_DENIED,
            "MISSING_ROLE",
            f"Nobody may call {method}: the daemon has no rule for it.",
        )
    has = f"has the role {caller.role.word}" if caller.role else "has no role here"
    held = f" What the daemon knows of you: {', '.join(caller.groups)}." if caller.groups else ""
    raise ApiError(
        grpc.StatusCode.PERMISSION_DENIED,
        "MISSING_ROLE",
        f"{caller.who} {has}; {method} needs the role {needed.word}. Ask an administrator of the daemon "
        f"for it.{held[:1000]}",
        {"who": caller.who, "role": caller.role.word, "needed": needed.word, "method": method},
    )


def _word(request: Any, field: str) -> str:
    value = getattr(request, field, "")
    return str(value)[: NAMED * 10] if value else ""
