"""Prometheus metrics of the daemon, in a registry of their own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

registry = CollectorRegistry()

events_total = Counter(
    "cmd_events", "Committed events by entity and new state.", ["kind", "state"], registry=registry
)
commit_seconds = Histogram(
    "cmd_commit_seconds",
    "Seconds a commit takes.",
    registry=registry,
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
commit_events = Histogram(
    "cmd_commit_events",
    "Events in one commit.",
    registry=registry,
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
)
inbox_depth = Gauge("cmd_inbox_events", "Events that wait to be decided.", registry=registry)
tasks = Gauge("cmd_tasks", "Tasks of the daemon's event loop.", registry=registry)
watchers = Gauge("cmd_watchers", "Open event watches.", registry=registry)
accepting = Gauge("cmd_accepting", "1 if the store takes writes.", registry=registry)
accepting.set(1)
leading = Gauge("cmd_leading", "1 if this daemon leads, 0 if it stands by.", registry=registry)
facility_up = Gauge(
    "cmd_facility_up",
    "1 if no vital check keeps a facility down.",
    ["facility"],
    registry=registry,
)
campaign_running = Gauge(
    "cmd_campaign_running",
    "1 if a campaign runs, 0 if it is over, paused, being cancelled, or not started.",
    ["campaign"],
    registry=registry,
)
groups = Gauge(
    "cmd_groups",
    "Groups of campaigns that are not archived.",
    ["campaign", "state"],
    registry=registry,
)
jobs = Gauge(
    "cmd_jobs", "Jobs of campaigns that are not archived.", ["campaign", "state"], registry=registry
)
share = Gauge(
    "cmd_campaign_share",
    "Share of a campaign's placed groups that are at a facility.",
    ["campaign", "facility"],
    registry=registry,
)
share_target = Gauge(
    "cmd_campaign_share_target",
    "Share that the campaign file asks for.",
    ["campaign", "facility"],
    registry=registry,
)
lane_jobs = Gauge(
    "cmd_lane_jobs",
    "Jobs that wait for a slot (ready) or may be outside (flying).",
    ["facility", "driver", "state"],
    registry=registry,
)
calls_waiting = Gauge(
    "cmd_calls_waiting",
    "Intended calls without an answer; verbs such as pause are commands.",
    ["facility", "driver", "verb"],
    registry=registry,
)
oldest_call = Gauge(
    "cmd_oldest_call_seconds",
    "Age of the oldest intended call without an answer.",
    ["facility", "driver"],
    registry=registry,
)
notices_waiting = Gauge(
    "cmd_notices_waiting",
    "Notices a notifier has not delivered.",
    ["notifier"],
    registry=registry,
)
bytes_moved = Counter(
    "cmd_bytes_moved",
    "Bytes that transfers have brought.",
    ["source", "destination"],
    registry=registry,
)
rpc_seconds = Histogram(
    "cmd_rpc_seconds", "Seconds an API call takes.", ["method", "code"], registry=registry
)
driver_seconds = Histogram(
    "cmd_driver_seconds",
    "Seconds a driver's call takes.",
    ["facility", "driver", "verb"],
    registry=registry,
)
driver_errors = Counter(
    "cmd_driver_errors",
    "Driver calls that failed as a whole.",
    ["facility", "driver", "verb", "error"],
    registry=registry,
)
observer_dropped = Counter(
    "cmd_observer_dropped", "Events an observer was too slow for.", ["observer"], registry=registry
)


@dataclass(slots=True)
class DriverCall:
    """A call under way."""

    facility: str
    driver: str
    verb: str

    def failed(self, error: str) -> None:
        """The call failed as a whole."""
        driver_errors.labels(self.facility, self.driver, self.verb, error).inc()


@contextmanager
def driver_call(facility: str, driver: str, verb: str) -> Iterator[DriverCall]:
    """Measure one call of a driver."""
    began = time.perf_counter()
    yield DriverCall(facility, driver, verb)
    driver_seconds.labels(facility, driver, verb).observe(time.perf_counter() - began)
