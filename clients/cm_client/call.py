"""One typed description of each RPC, bound to both clients.

A method of the API is written once, as a function that builds its request. The descriptors here
turn it into a coroutine function on `AsyncClient` and into a blocking method on `Client`, with the
same keyword arguments, so that the two can never drift apart.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from google.protobuf.message import Message

from .errors import CmError

P = ParamSpec("P")
Res = TypeVar("Res", bound=Message)
Item = TypeVar("Item")

QUICK = "quick"
LONG = "long"


@dataclass(frozen=True, slots=True)
class Call(Generic[Res]):
    """One RPC with its request. `method` is `Service/Method` within `cmd_api.v1`.

    `repeatable` says whether doing it twice is the same as doing it once. `length` chooses one of
    the client's two deadlines.
    """

    method: str
    request: Message
    response: type[Res]
    repeatable: bool = True
    length: str = QUICK

    @property
    def path(self) -> str:
        """The gRPC path."""
        return f"/cmd_api.v1.{self.method}"


class Resumable(Protocol[Res]):
    """A stream that goes on where it stopped after its connection is lost."""

    silence: float | None
    """Seconds without a message after which the connection counts as lost; None means never."""

    def call(self) -> Call[Res]:
        """The RPC that goes on from here."""

    def accept(self, message: Res) -> None:
        """Take note of a message that was received."""

    def resumes_after(self, error: CmError) -> bool:
        """Whether the stream can go on after this error."""

    def notify(self, error: CmError, wait: float) -> None:
        """Called before each attempt to go on."""


class SyncRunner(ABC):
    """What runs calls and blocks."""

    @abstractmethod
    def run(self, call: Call[Res]) -> Res:
        """The answer. Raises CmError."""

    @abstractmethod
    def stream(self, stream: Resumable[Res], idle: float | None) -> Iterator[Res]:
        """The messages. Raises CmError."""

    def pages(self, call: Call[Res], items: Callable[[Res], Iterable[Item]]) -> Iterator[Item]:
        """The items of all pages, each page asked for when it is needed."""
        while True:
            page = self.run(call)
            yield from items(page)
            if not _turn(call, page):
                return


class AsyncRunner(ABC):
    """What runs calls on an event loop."""

    @abstractmethod
    async def run(self, call: Call[Res]) -> Res:
        """The answer. Raises CmError."""

    @abstractmethod
    def stream(self, stream: Resumable[Res], idle: float | None) -> AsyncIterator[Res]:
        """The messages. Raises CmError."""

    async def pages(
        self, call: Call[Res], items: Callable[[Res], Iterable[Item]]
    ) -> AsyncIterator[Item]:
        """The items of all pages, each page asked for when it is needed."""
        while True:
            page = await self.run(call)
            for item in items(page):
                yield item
            if not _turn(call, page):
                return


def _turn(call: Call[Res], page: Res) -> bool:
    """Make the call ask for the page after this one; False if there is none."""
    token = page.next_page_token  # type: ignore[attr-defined]
    call.request.page_token = token  # type: ignore[attr-defined]
    return bool(token)


class rpc(Generic[P, Res]):
    """Decorates a function that builds a Call: the method that runs it."""

    def __init__(self, build: Callable[Concatenate[Any, P], Call[Res]]) -> None:
        self._build = build
        update_wrapper(self, build)  # type: ignore[arg-type]

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, client: AsyncRunner, owner: type
    ) -> Callable[P, Coroutine[Any, Any, Res]]: ...
    @overload
    def __get__(self, client: SyncRunner, owner: type) -> Callable[P, Res]: ...
    def __get__(self, client: AsyncRunner | SyncRunner | None, owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.run(self._build(client, *args, **kwargs))

        return update_wrapper(method, self._build)


class _Paged(Generic[P, Res, Item]):
    def __init__(
        self,
        build: Callable[Concatenate[Any, P], Call[Res]],
        items: Callable[[Res], Iterable[Item]],
    ) -> None:
        self._build, self._items = build, items
        update_wrapper(self, build)  # type: ignore[arg-type]

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, AsyncIterator[Item]]: ...
    @overload
    def __get__(self, client: SyncRunner, owner: type) -> Callable[P, Iterator[Item]]: ...
    def __get__(self, client: AsyncRunner | SyncRunner | None, owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.pages(self._build(client, *args, **kwargs), self._items)

        return update_wrapper(method, self._build)


def paged(
    items: Callable[[Res], Iterable[Item]],
) -> Callable[[Callable[Concatenate[Any, P], Call[Res]]], _Paged[P, Res, Item]]:
    """Decorates a function that builds the Call of a first page: the iterator over all items."""

    def decorate(build: Callable[Concatenate[Any, P], Call[Res]]) -> _Paged[P, Res, Item]:
        return _Paged(build, items)

    return decorate


class streamed(Generic[P, Res]):
    """Decorates a function that builds a Resumable and an idle time: the iterator of messages."""

    def __init__(
        self, build: Callable[Concatenate[Any, P], tuple[Resumable[Res], float | None]]
    ) -> None:
        self._build = build
        update_wrapper(self, build)  # type: ignore[arg-type]

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: AsyncRunner, owner: type) -> Callable[P, AsyncIterator[Res]]: ...
    @overload
    def __get__(self, client: SyncRunner, owner: type) -> Callable[P, Iterator[Res]]: ...
    def __get__(self, client: AsyncRunner | SyncRunner | None, owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.stream(*self._build(client, *args, **kwargs))

        return update_wrapper(method, self._build)


def change(
    method: str,
    request: Message,
    response: type[Res],
    request_id: str | None,
    *,
    length: str = QUICK,
) -> Call[Res]:
    """The Call of a request that changes something: safe to repeat only with a request_id.

    None makes a new one; "" sends none, and the call is then never repeated.
    """
    chosen = str(uuid.uuid4()) if request_id is None else request_id
    request.request_id = chosen  # type: ignore[attr-defined]
    return Call(method, request, response, repeatable=bool(chosen), length=length)
