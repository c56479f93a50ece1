"""The loop behind `cm top`: what is looked at, how often, and what the keys do."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Iterator
from itertools import islice

from cmd_api.v1.event_pb2 import WatchEventsResponse

from cm_client import Client, CmError, HistoryGone, connection_lost
from cm_client.needs import Need, needs_of, ranked

from .show.top import EVENTS, Screen, Snapshot
from .watch import interruptible

IDLE = 0.1
"""Seconds without events after which keys are looked at."""
AT_MOST_EVERY = 0.5
"""Seconds between two looks at the daemon while events come in."""
AT_LEAST_EVERY = 2.0
NEEDS = 8
KINDS = ("campaign", "step", "group", "facility")

_KEYS = {
    b"\x1b[A": "up", b"\x1bOA": "up", b"k": "up",
    b"\x1b[B": "down", b"\x1bOB": "down", b"j": "down",
    b"\x1b[C": "in", b"\x1bOC": "in", b"\r": "in", b"\n": "in",
    b"\x1b[D": "out", b"\x1bOD": "out", b"\x1b": "out",
    b"q": "quit", b"Q": "quit",
}  # fmt: skip
"""What a terminal sends, and what it means."""


def look(client: Client, opened: str = "") -> Snapshot:
    """Everything as it is now; of the campaign `opened` (resource name) its steps. Raises CmError."""
    campaigns = ranked(client.campaigns())
    needs: list[Need] = []
    for campaign in campaigns:
        if len(needs) < NEEDS and campaign.needs_person:
            steps = client.list_steps(campaign.name).steps
            needs += needs_of(client, campaign, steps, NEEDS - len(needs))
    return Snapshot(
        daemon=client.get_daemon(),
        address=client.address.target,
        actor=client.address.actor,
        campaigns=campaigns,
        facilities=list(client.list_facilities().facilities),
        needs=needs,
        steps=list(client.list_steps(opened).steps) if opened else [],
        events=deque(
            reversed(list(islice(client.events(newest_first=True, kinds=KINDS, page_size=EVENTS), EVENTS))),
            maxlen=EVENTS,
        ),
    )  # fmt: skip


@contextlib.contextmanager
def keys() -> Iterator[None]:
    """The terminal gives keys one by one and does not show them, until the block ends."""
    stdin = sys.stdin.fileno()
    former = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, former)


def pressed() -> Iterator[str]:
    """What was pressed since it was asked last; keys that mean nothing are left out."""
    stdin = sys.stdin.fileno()
    while select.select([stdin], [], [], 0)[0]:
        data = os.read(stdin, 1024)
        if not data:
            yield "quit"
            return
        while data:
            known = next(
                (key for key in sorted(_KEYS, key=len, reverse=True) if data.startswith(key)), None
            )
            if known is not None:
                yield _KEYS[known]
            data = data[len(known or b"x") :]


def follow(client: Client, screen: Screen) -> None:
    """Show and follow until q or Ctrl-C. Lost connections are shown and outlasted. Raises CmError if
    the first look fails."""
    with interruptible() as check, screen, keys():
        screen.show(look(client))
        looked = time.monotonic()
        while True:
            try:
                for batch in client.watch_events(kinds=KINDS, idle=IDLE, on_lost=screen.lost):
                    check()
                    turned = _turn(screen)
                    if turned == "quit":
                        return
                    screen.add(batch.events)
                    since = time.monotonic() - looked
                    if turned or since >= _pause(batch):
                        looked = _look_again(client, screen)
            except HistoryGone:
                continue


def _turn(screen: Screen) -> str:
    """Do what the keys say; what needs a look at the daemon, `quit`, or nothing."""
    wanted = ""
    for key in pressed():
        if key == "quit":
            return "quit"
        if screen.press(key):
            wanted = "look"
    return wanted


def _pause(batch: WatchEventsResponse) -> float:
    return AT_MOST_EVERY if batch.events else AT_LEAST_EVERY


def _look_again(client: Client, screen: Screen) -> float:
    try:
        screen.show(look(client, screen.opened))
    except CmError as error:
        if not connection_lost(error):
            raise
        screen.lost(error, 0.0)
    return time.monotonic()
