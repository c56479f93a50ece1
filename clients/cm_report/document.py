"""The report as JSON: the figures, and the messages they are made of with the contract's field names."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from .figures import Line, differences, elapsed, figures, part, sums
from .reading import Report


def document(report: Report, former: Report | None = None) -> dict[str, Any]:
    """One JSON object. Times of figures are in seconds, bytes in bytes."""
    of = sums(report)
    made: dict[str, Any] = {
        "campaign": _plain(report.campaign),
        "read_time": datetime.fromtimestamp(report.at, UTC).isoformat(timespec="seconds"),
        "figures": {each.key: each.value for each in figures(report)},
        "steps": [
            {
                **_plain(step),
                **_line(of.steps[step.name]),
                "elapsed_seconds": elapsed(step, report.at),
                "by_facility": {
                    part(facility): _line(line)
                    for (name, facility), line in sorted(of.places.items())
                    if name == step.name
                },
            }
            for step in report.steps
        ],
        "facilities": {part(name): _line(line) for name, line in sorted(of.facilities.items())},
        "costs": [_plain(cost) for cost in report.costs.costs],
        "losses": [_plain(group) for group in report.costs.losses],
        "losses_total": report.costs.losses_total,
        "slowest": [_plain(group) for group in report.costs.slowest],
        "causes": [_plain(cause) for cause in report.causes.causes],
        "failures_total": report.causes.total,
        "ways": [_plain(way) for way in report.ways],
    }
    if former is not None:
        made["against"] = {
            "campaign": former.campaign.name,
            "figures": {each.key: each.value for each in figures(former)},
            "differences": {each.figure.key: each.change for each in differences(report, former)},
        }
    return made


def _plain(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _line(line: Line) -> dict[str, Any]:
    return {**asdict(line), "groups": dict(line.groups)}
