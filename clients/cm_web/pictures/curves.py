"""Numbers over time, as the chart library takes them: one list of times, one for each curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cmd_api.v1.statistics_pb2 import Activity

from cm_client.words import duration, size

from ..rendering import percent


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: `data` for the library, and what it says in words, for those who cannot see it."""

    title: str
    data: dict[str, Any]
    words: str


def charts(activity: Activity) -> list[Chart]:
    """Throughput and failures over the whole time; quanta and bytes moved where there are any."""
    spans = activity.spans
    start = activity.start_time.ToMicroseconds() / 1e6
    times = [round(start + (at + 0.5) * activity.span, 1) for at in range(spans)]
    sums = {
        name: [sum(getattr(part, name)[at] for part in activity.parts) for at in range(spans)]
        for name in ("succeeded", "failed", "quanta", "bytes")
    }
    ended = [good + bad for good, bad in zip(sums["succeeded"], sums["failed"], strict=True)]
    rate = [bad / all_ if all_ else None for bad, all_ in zip(sums["failed"], ended, strict=True)]
    each = duration(activity.span)
    failed, total = sum(sums["failed"]), sum(ended)
    share = percent(failed / total) if total else "none"
    found = [
        Chart(
            "Attempts ended",
            {
                "times": times,
                "unit": "count",
                "curves": [
                    {"name": "succeeded", "kind": "done", "values": sums["succeeded"]},
                    {"name": "failed", "kind": "bad", "values": sums["failed"], "dash": [5, 3]},
                ],
            },
            f"{sum(sums['succeeded'])} succeeded, {failed} failed; each point is {each}",
        ),
        Chart(
            "Failure rate",
            {
                "times": times,
                "unit": "percent",
                "curves": [{"name": "failed", "kind": "bad", "values": rate, "points": True}],
            },
            f"{share} of {total} attempts failed",
        ),
        Chart(
            "Quanta made",
            {
                "times": times,
                "unit": "count",
                "curves": [{"name": "quanta", "kind": "run", "values": sums["quanta"]}],
            },
            f"{sum(sums['quanta'])} quanta; each point is {each}",
        ),
        Chart(
            "Bytes moved",
            {
                "times": times,
                "unit": "bytes",
                "curves": [{"name": "bytes", "kind": "queue", "values": sums["bytes"]}],
            },
            f"{size(sum(sums['bytes']))} between facilities; each point is {each}",
        ),
    ]
    wanted = (True, True, any(sums["quanta"]), any(sums["bytes"]))
    return [chart for chart, shown in zip(found, wanted, strict=True) if shown]
