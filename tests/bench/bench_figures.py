"""The measurements: each drives a daemon through its public API and gives numbers."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench_daemon import BenchDaemon, campaign_text
from bench_floor import Replay
from services.databases import Server

from cm_client import Client
from cmd_api.v1 import campaign_pb2 as pb
from cmd_daemon.store import Store

REPEATS = 3


@dataclass(frozen=True)
class Run:
    """One campaign from StartCampaign to ACCEPTED: seconds, committed job transitions in that time,
    the daemon's processor seconds, its peak memory in MB."""

    groups: int
    seconds: float
    transitions: int
    processor: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Committed job transitions a second."""
        return self.transitions / self.seconds


def p99(spent: list[float]) -> float:
    """The 99th percentile."""
    return sorted(spent)[max(0, int(len(spent) * 0.99) - 1)]


def run_campaign(daemon: BenchDaemon, client: Client, name: str, groups: int) -> Run:
    """Apply, start, and wait for ACCEPTED."""
    client.apply_campaign(campaign_text(name, groups))
    campaign = f"campaigns/{name}"
    former = daemon.job_events()
    watch = client.watch_events(campaign, kinds=["campaign"])
    next(watch)  # from here on everything is told
    times = daemon.process.cpu_times()
    began = time.perf_counter()
    client.start_campaign(campaign)
    state = ""
    for batch in watch:
        for event in batch.events:
            state = event.to_state
        if state in ("ACCEPTED", "FAILED", "CANCELLED"):
            break
    seconds = time.perf_counter() - began
    if state != "ACCEPTED":
        raise RuntimeError(f"{campaign} ended {state}")
    after = daemon.process.cpu_times()
    processor = after.user + after.system - times.user - times.system
    transitions = daemon.job_events() - former
    return Run(groups, seconds, transitions, processor, daemon.peak_rss())


def median_run(
    directory: Path, groups: int, keep: Path | None = None, postgres: Server | None = None
) -> Run:
    """The median of several runs on one daemon; `keep` gets the history of the first. On SQLite, or
    on a PostgreSQL server."""
    runs = []
    with BenchDaemon(directory, postgres) as daemon:
        daemon.start()
        with daemon.client() as client:
            run_campaign(daemon, client, "warm", 100)
            for n in range(REPEATS):
                runs.append(run_campaign(daemon, client, f"run-{n}", groups))
        daemon.stop()
        if keep is not None:
            daemon.database.replace(keep)
    middle = median(run.seconds for run in runs)
    return next(run for run in runs if run.seconds == middle)


def apply_seconds(directory: Path, groups: int) -> float:
    """Seconds for PlanCampaign and ApplyCampaign of a campaign with that many groups."""
    spent = []
    with BenchDaemon(directory) as daemon:
        daemon.start()
        with daemon.client() as client:
            for n in range(REPEATS):
                text = campaign_text(f"planned-{n}", groups)
                began = time.perf_counter()
                plan = client.plan_campaign(text)
                client.apply_campaign(text)
                spent.append(time.perf_counter() - began)
                if plan.group_count != groups:
                    raise RuntimeError(f"planned {plan.group_count} groups, not {groups}")
    return median(spent)


def floor_rate(directory: Path, finished: Path) -> float:
    """Job transitions a second that raw sqlite3 writes, with all the rows that go with them."""
    replay = Replay(finished)
    spent = []
    for n in range(REPEATS):
        empty = directory / f"floor-{n}.db"
        for left in directory.glob(f"{empty.name}*"):
            left.unlink()
        asyncio.run(_make_empty(empty))
        spent.append(replay.write(empty))
    return replay.transitions / median(spent)


async def _make_empty(path: Path) -> None:
    store = await Store.open(f"sqlite+aiosqlite:///{path}", clock=lambda: 0)
    await store.close()


@dataclass(frozen=True)
class Large:
    """What a daemon does with a very large campaign."""

    run: Run
    watch_history: float
    watch_live: float
    open_mb: float
    open_peak_mb: float
    recovered_mb: float
    split_s: float
    recovery_s: float
    status_p99_ms: float
    list_p99_ms: float


def large(directory: Path, groups: int) -> Large:
    """One campaign run to its end and watched again; another held open with all its groups, killed
    with SIGKILL, recovered, and asked for its status and its jobs."""
    with BenchDaemon(directory / "run") as daemon:
        daemon.start()
        with daemon.client() as client:
            run = run_campaign(daemon, client, "large", groups)
            history = watch_rate(client, "0", min(3 * groups, 300_000))
            newest = next(iter(client.list_events(newest_first=True, page_size=1).events)).seq
            live = watch_rate(client, str(newest - min(groups, 19_000)), min(groups, 19_000))
    with BenchDaemon(directory / "open") as daemon:
        daemon.start()
        with daemon.client() as client:
            split = hold_open(client, groups)
            open_mb, open_peak = daemon.rss(), daemon.peak_rss()
        daemon.kill()
        recovery = daemon.start()
        with daemon.client() as client:
            count = sum(client.get_campaign("campaigns/open").group_counts.values())
            if count != groups:
                raise RuntimeError(f"{count} groups came back, not {groups}")
            recovered = daemon.peak_rss()
            status = p99([_timed_status(client) for _ in range(500)])
            pages = p99(_timed_pages(client, 200))
    return Large(run, history, live, open_mb, open_peak, recovered, split, recovery, status, pages)


def hold_open(client: Client, groups: int) -> float:
    """Start a campaign and pause it at once: it is split, and its groups stay open. Seconds until the
    last group is stored."""
    client.apply_campaign(campaign_text("open", groups))
    began = time.perf_counter()
    client.start_campaign("campaigns/open")
    client.pause_campaign("campaigns/open")
    while True:
        campaign = client.get_campaign("campaigns/open")
        if sum(campaign.group_counts.values()) >= groups:
            break
        time.sleep(0.2)
    seconds = time.perf_counter() - began
    while client.get_campaign("campaigns/open").state != pb.Campaign.STATE_PAUSED:
        time.sleep(0.2)
    return seconds


def watch_rate(client: Client, token: str, wanted: int) -> float:
    """Events a second that one client gets from WatchEvents, from a point of the history on."""
    seen = 0
    began = time.perf_counter()
    for batch in client.watch_events(resume_token=token):
        seen += len(batch.events)
        if seen >= wanted:
            break
    return seen / (time.perf_counter() - began)


def _timed_status(client: Client) -> float:
    began = time.perf_counter()
    client.get_campaign("campaigns/open")
    return (time.perf_counter() - began) * 1000


def _timed_pages(client: Client, pages: int) -> list[float]:
    spent = []
    token = ""
    for _ in range(pages):
        began = time.perf_counter()
        page = client.list_jobs("campaigns/open", page_size=1000, page_token=token)
        spent.append((time.perf_counter() - began) * 1000)
        token = page.next_page_token
    return spent
