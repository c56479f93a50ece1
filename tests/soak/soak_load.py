"""Constant load on a daemon: campaigns one after the other, readers, a watcher, and what is sampled."""

import contextlib
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from bench_daemon import BenchDaemon, campaign_text

from cm_client import Client, CmError
from cmd_api.v1.campaign_pb2 import Campaign

GROUPS = 40
EVERY_S = 2.0
"""A campaign of so many groups begins every so many seconds; one that is over is archived."""


@dataclass(frozen=True)
class Sample:
    """What one look at the daemon showed. Memory and database in MB (10^6 bytes)."""

    seconds: float
    memory: float
    descriptors: int
    threads: int
    tasks: float
    database: float
    transitions: float


class Load:
    """The load, in threads of its own, between `start` and `stop`."""

    def __init__(self, daemon: BenchDaemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self.applied = 0
        self.archived = 0
        self.problems: list[str] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._apply, self._archive, self._read, self._watch)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; waits for the threads."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _guarded(self, work: object) -> None:
        assert callable(work)
        try:
            work()
        except Exception as error:  # noqa: BLE001 - a load that has stopped is no proof of anything
            if not self._over.is_set():
                self.problems.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _apply(self) -> None:
        with self._daemon.client() as client:
            while not self._over.wait(EVERY_S):
                client.apply_campaign(campaign_text(f"c{self.applied}", GROUPS), start=True)
                self.applied += 1

    def _archive(self) -> None:
        with self._daemon.client() as client:
            while not self._over.wait(EVERY_S / 2):
                for campaign in client.campaigns():
                    if campaign.state == Campaign.STATE_ACCEPTED:
                        client.archive_campaign(campaign.name)
                        self.archived += 1

    def _read(self) -> None:
        """A new client each time, as a tool on a pilot's desk is."""
        while not self._over.wait(0.5):
            with self._daemon.client() as client:
                for campaign in list(client.campaigns())[:2]:
                    client.list_steps(campaign.name)
                    client.explain_entity(campaign.name)
                    client.list_events(campaign.name)
                client.list_facilities()

    def _watch(self) -> None:
        """Watches that come and go."""
        while not self._over.is_set():
            with self._daemon.client() as client:
                self._look_on(client, time.monotonic() + 10)

    def _look_on(self, client: Client, end: float) -> None:
        with contextlib.suppress(CmError):
            for _ in client.watch_events(idle=1.0):
                if self._over.is_set() or time.monotonic() > end:
                    return


def figure(lines: Sequence[str], name: str) -> float:
    """The sum of the series whose line begins so; 0 if there is none yet."""
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def sample(daemon: BenchDaemon, metrics: str, began: float) -> Sample:
    """Look at the daemon."""
    process = daemon.process
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return Sample(
        seconds=time.monotonic() - began,
        memory=daemon.rss(),
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        tasks=figure(lines, "cmd_tasks "),
        database=daemon.database_bytes() / 1e6,
        transitions=figure(lines, 'cmd_events_total{kind="job"'),
    )
