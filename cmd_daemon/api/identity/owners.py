"""Whose a campaign or a schedule is, and who may change it."""

from collections.abc import Awaitable, Callable

import grpc

from cmd_daemon.api.errors import ApiError
from cmd_daemon.api.identity.caller import SOCKET, Caller, calling
from cmd_daemon.api.identity.roles import Role

OwnerOf = Callable[[str], Awaitable[str | None]]


class Owners:
    """With `only`, campaigns and schedules are changed by their owners and by admins only. `owner_of` tells
    the owner by the resource name of a campaign or schedule; None if there is none of that name."""

    def __init__(self, only: bool, owner_of: OwnerOf) -> None:
        self.only = only
        self._owner_of = owner_of

    async def check_named(self, caller: Caller, name: str) -> None:
        """Raise ApiError if the caller may not change what has this name, or is below it."""
        if not self.only or caller.role >= Role.ADMIN:
            return
        parts = name.split("/")
        if len(parts) < 2 or parts[0] not in ("campaigns", "schedules"):
            return
        owned = "/".join(parts[:2])
        owner = await self._owner_of(owned)
        if owner is not None:
            self._check(caller, owned, owner)

    def check(self, name: str, owner: str) -> None:
        """Raise ApiError if the caller of the call under way may not have or change what belongs to
        `owner`."""
        caller = calling().caller
        if self.only and caller.role < Role.ADMIN:
            self._check(caller, name, owner)

    def _check(self, caller: Caller, name: str, owner: str) -> None:
        if caller.who == owner and caller.proof != SOCKET:
            return
        claimed = (
            " On the Unix socket nobody proves to be its owner." if caller.proof == SOCKET else ""
        )
        raise ApiError(
            grpc.StatusCode.PERMISSION_DENIED,
            "NOT_OWNER",
            f"{name} belongs to {owner}, and {caller.who} is not its owner: only the owner or an admin "
            f"changes it.{claimed}",
            {"name": name, "owner": owner, "who": caller.who},
        )
