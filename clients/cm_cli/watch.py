"""Following a campaign: the loop behind `cm watch`."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from cmd_api.v1.campaign_pb2 import Campaign
from cmd_api.v1.event_pb2 import WatchEventsResponse
from cmd_api.v1.job_pb2 import Job
from cmd_api.v1.step_pb2 import Step

from cm_client import Client, CmError, HistoryGone, Name, connection_lost
from cm_client.needs import needs_of

from .show.text import state_word
from .show.watching import View

FATES = {"ACCEPTED": 0, "FAILED": 3, "CANCELLED": 4}
WAITS = 5

IDLE = 0.25
"""Seconds without events after which the loop looks round."""
AT_MOST_EVERY = 0.5
"""Seconds between two looks at the campaign while events come in."""
AT_LEAST_EVERY = 2.0
"""Seconds after which it is looked at without an event: progress of jobs makes none."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Ctrl-C as a note that is taken at the next turn of the loop: an exception in the middle of a gRPC
    call can leave a lock behind that its own clean-up then waits for. Yields what raises
    KeyboardInterrupt if Ctrl-C was pressed; a second Ctrl-C interrupts at once."""
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, former)


def follow(client: Client, name: Name, view: View, *, exit_on_hold: bool) -> int:
    """Show the campaign until it is final; the exit code of its fate.

    Lost connections are shown and outlasted. Raises CmError if the first look fails, and
    KeyboardInterrupt after Ctrl-C.
    """
    with interruptible() as check:
        return _follow(client, name, view, exit_on_hold, check)


def _follow(
    client: Client, name: Name, view: View, exit_on_hold: bool, check: Callable[[], None]
) -> int:
    watcher = _Watcher(client, name, view)
    watcher.look()
    while True:
        try:
            for batch in client.watch_events(name.full, idle=IDLE, on_lost=view.lost):
                check()
                code = watcher.take(batch, exit_on_hold)
                if code is not None:
                    return code
        except HistoryGone:
            view.note("Some events are gone from the history; going on from now.")


class _Watcher:
    """What has been seen so far."""

    def __init__(self, client: Client, name: Name, view: View) -> None:
        self._client, self._name, self._view = client, name, view
        self._looked = 0.0
        self._stale = False
        self._fate: int | None = None
        self._person = False
        self._seen: set[tuple[str, str, str]] = set()

    def take(self, batch: WatchEventsResponse, exit_on_hold: bool) -> int | None:
        """One batch, maybe empty; the exit code when everything has been shown."""
        if batch.events:
            self._view.events(batch.events)
            self._stale = True
        elif self._fate is not None:
            return self._fate  # the last events have come in
        since = time.monotonic() - self._looked
        if since >= (AT_MOST_EVERY if self._stale else AT_LEAST_EVERY):
            try:
                self.look()
            except CmError as error:
                if not connection_lost(error):
                    raise
                self._looked = time.monotonic()
                self._view.lost(error, 0.0)
        if exit_on_hold and self._person and self._fate is None:
            return WAITS
        return None

    def look(self) -> None:
        """Ask for the campaign and show it. Raises CmError."""
        campaign = self._client.get_campaign(self._name.full)
        steps = self._client.list_steps(self._name.full).steps
        running = self._client.list_jobs(
            self._name.full, states=[Job.STATE_RUNNING], page_size=self._view.jobs_wanted or 1
        ).jobs
        self._view.update(campaign, steps, running)
        self._tell_needs(campaign, steps)
        self._fate = _fate(campaign, steps)
        self._looked = time.monotonic()
        self._stale = False

    def _tell_needs(self, campaign: Campaign, steps: Iterable[Step]) -> None:
        needs = needs_of(self._client, campaign, steps)
        self._person = bool(needs)
        fresh = [need for need in needs if (need.name, need.state, need.reason) not in self._seen]
        # Forget those that were answered: if they come again they are news again.
        self._seen = {(need.name, need.state, need.reason) for need in needs}
        if fresh:
            self._view.needs(fresh, campaign.needs_person)
        elif not needs:
            self._view.needs([], 0)


def _fate(campaign: Campaign, steps: Iterable[Step]) -> int | None:
    state = state_word(campaign)
    if state == "ARCHIVED":  # it was final before; its steps tell how it ended
        ends = {state_word(step) for step in steps if not step.optional}
        return 3 if "FAILED" in ends else 4 if "CANCELLED" in ends else 0
    return FATES.get(state)
