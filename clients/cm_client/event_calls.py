"""Calls about the history."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1 import event_pb2 as pb

from .call import Call, Resumable, paged, rpc, streamed
from .streams import EventStream, OnLost

PAGE = 1000


def _events(page: pb.ListEventsResponse) -> Iterable[pb.Event]:
    return page.events


class EventCalls:
    """The methods of EventService."""

    @paged(_events)
    def events(
        self,
        parent: str = "",
        *,
        newest_first: bool = False,
        kinds: Iterable[str] = (),
        page_size: int = PAGE,
    ) -> Call[pb.ListEventsResponse]:
        """The events of an entity and of those below it; of all if no parent is given."""
        request = pb.ListEventsRequest(
            parent=parent, page_size=page_size, newest_first=newest_first, kinds=kinds
        )
        return Call("EventService/ListEvents", request, pb.ListEventsResponse)

    @rpc
    def list_events(
        self,
        parent: str = "",
        *,
        page_size: int = 0,
        page_token: str = "",
        newest_first: bool = False,
        kinds: Iterable[str] = (),
    ) -> Call[pb.ListEventsResponse]:
        """One page of events."""
        request = pb.ListEventsRequest(
            parent=parent,
            page_size=page_size,
            page_token=page_token,
            newest_first=newest_first,
            kinds=kinds,
        )
        return Call("EventService/ListEvents", request, pb.ListEventsResponse)

    @streamed
    def watch_events(
        self,
        parent: str = "",
        *,
        resume_token: str | None = None,
        kinds: Iterable[str] = (),
        idle: float | None = None,
        on_lost: OnLost | None = None,
    ) -> tuple[Resumable[pb.WatchEventsResponse], float | None]:
        """Batches of events as they are committed, for ever; an empty batch is a heartbeat.

        Without a resume token from now on, with "0" from the beginning. Once connected it goes on
        by itself, without a gap, after a lost connection, a restart of the daemon, or when it was
        too slow. With `idle`, an empty batch comes when nothing came for so many seconds.
        `on_lost(error, wait)` is called before each attempt to go on. Raises HistoryGone if the
        token is too old, DaemonUnavailable if there never was a connection.
        """
        return EventStream(parent, tuple(kinds), resume_token or "", on_lost), idle
