"""What all services share: the engine to ask, the store to read, and how a wish becomes an event."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cmd_daemon.api.errors import ApiError, invalid, not_found
from cmd_daemon.api.identity.caller import calling
from cmd_daemon.api.identity.owners import Owners
from cmd_daemon.api.names import Path, parse
from cmd_daemon.api.reader import Reader
from cmd_daemon.engine.clock import Clock
from cmd_daemon.engine.engine import Engine
from cmd_daemon.engine.files import known_to
from cmd_daemon.engine.requests import RequestIdReused
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.hooks.ports import FacilityInfo, Host
from cmd_daemon.kernel import events as ev
from cmd_daemon.kernel.decision import Decision
from cmd_daemon.kernel.records import CampaignRow, GroupRow, JobRow, RequestRow, StepRow
from cmd_daemon.spec import Known

REASON_LENGTH = 2000
LATEST = 253_402_300_799 * 1_000_000
"""The end of the year 9999, in microseconds: no time is later."""

Context = grpc.aio.ServicerContext[Any, Any]


class Command(Protocol):
    """The fields each mutating request has."""

    @property
    def reason(self) -> str: ...
    @property
    def request_id(self) -> str: ...


@dataclass(slots=True)
class Room:
    """Everything the services work with."""

    engine: Engine
    reader: Reader
    plugins: Plugins
    facilities: Mapping[str, FacilityInfo]
    host: Host
    clock: Clock
    version: str
    database: str
    started_at: int
    owners: Owners

    @property
    def known(self) -> Known:
        """What a campaign file is checked against."""
        return known_to(self.plugins, self.facilities)

    async def campaign(self, name: str) -> CampaignRow:
        """The campaign of a resource name. Raises ApiError."""
        row = await self.reader.get_campaign(parse(name, 1).campaign)
        if row is None:
            raise not_found(name)
        return row

    async def step(self, name: str) -> StepRow:
        """The step of a resource name. Raises ApiError."""
        path = parse(name, 2)
        row = await self.reader.get_step(path.campaign, path.step)
        if row is None:
            raise not_found(name)
        return row

    async def group(self, name: str) -> GroupRow:
        """The group of a resource name. Raises ApiError."""
        path = parse(name, 3)
        row = await self.reader.get_group(path.campaign, path.step, path.group)
        if row is None:
            raise not_found(name)
        return row

    async def job(self, name: str) -> JobRow:
        """The job of a resource name. Raises ApiError."""
        path = parse(name, 4)
        row = await self.reader.get_job(path.campaign, path.step, path.group, path.job)
        if row is None:
            raise not_found(name)
        return row

    async def parent(self, name: str, *depths: int) -> Path:
        """The parts of a parent's name, which must exist. Raises ApiError."""
        path = parse(name, *depths)
        above = str(Path(path.campaign, path.step, path.group))
        match path.depth:
            case 1:
                await self.campaign(above)
            case 2:
                await self.step(above)
            case _:
                await self.group(above)
        return path

    async def repeated(self, request: Command, method: str) -> bool:
        """True if this very request was committed before. Raises ApiError if its id was used for
        another one."""
        if not request.request_id:
            return False
        former = await self.reader.find_request(request.request_id)
        if former is None:
            return False
        if former.method != method or former.digest != _digest(request):
            raise _reused(request.request_id, former.method)
        return True

    async def ask(self, event: ev.Event, request: Command, method: str) -> Decision:
        """Have an event decided and committed, together with the request's id."""
        row = None
        if request.request_id:
            row = RequestRow(request.request_id, method, _digest(request), b"", self.clock.now())
        try:
            return await self.engine.ask(event, row, calling().audit)
        except RequestIdReused as error:
            raise _reused(request.request_id, "one that is under way") from error


def _reused(request_id: str, former: str) -> ApiError:
    return ApiError(
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        f"request_id {request_id!r} was used for another request ({former}).",
        {"request_id": request_id},
    )


def _digest(request: object) -> str:
    assert isinstance(request, Message)
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def check_etag(given: str, current: str, name: str) -> None:
    """Raise ApiError if the caller saw another state of the entity than the present one."""
    if given and given != current:
        raise ApiError(
            grpc.StatusCode.ABORTED,
            "ETAG_MISMATCH",
            f"{name} has changed since you read it; read it again and decide anew.",
            {"name": name, "etag": current},
        )


def check_command(request: Command, needs_reason: bool = False) -> None:
    """Raise ApiError for a reason or request id that cannot be used."""
    if len(request.reason) > REASON_LENGTH:
        raise invalid("reason", f"at most {REASON_LENGTH} characters, not {len(request.reason)}")
    if needs_reason and not request.reason.strip():
        raise invalid("reason", "say why; it goes into the history")
    if len(request.request_id) > 200:
        raise invalid("request_id", "at most 200 characters")


def state_names(enum: EnumDescriptor, given: Iterable[int]) -> set[str]:
    """The states a request names, as words; UNSPECIFIED is none. Raises ApiError for unknown numbers."""
    names: set[str] = set()
    for number in given:
        value = enum.values_by_number.get(number)
        if value is None:
            raise invalid("states", f"{number} is no state")
        if number:
            names.add(value.name.removeprefix("STATE_"))
    return names


def micros(field: str, time: Timestamp) -> int:
    """A time of a request in microseconds UTC. Raises ApiError for one that is none."""
    try:
        found = time.ToMicroseconds()
    except ValueError as error:  # nanoseconds that are none
        raise invalid(field, f"is no time: {error}") from error
    if not 0 <= found <= LATEST:
        raise invalid(field, "is out of range")
    return found


def actor_of(context: Context) -> str:
    """Who calls, for the history: proved, or on the Unix socket as the client says."""
    return calling().caller.who
