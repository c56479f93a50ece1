"""The sections about data between facilities: what was moved, and the nexus log."""

from collections.abc import Sequence

import counting
import words
from markup import Child, Html, cell, el, join, table
from parts import SHOWN_ROWS, folded, section
from reading import Facts

from cm_client import parse_name, short_name
from cmd_api.v1 import step_pb2

SHOWN_TYPES = 3
FIELDS = {"rule OK": "rule_ok"}


def moved(facts: Facts) -> Html:
    """Files and bytes for each way and movement."""
    ways = counting.ways(facts)
    if not ways:
        return section("moved", "Data moved", el("p", "No data was moved between facilities."))
    away = [way for way in ways if not way.stays]
    most = max((way.bytes for way in away), default=0) or 1
    rows: list[list[Child]] = []
    for way in ways:
        bar = el("span", "", class_="bytes", style=f"width:{100 * way.bytes / most:.1f}%")
        there = el("small", "is there already")
        full = way.files == way.expected
        files = words.number(way.files) if full else f"{way.files} / {way.expected}"
        rows.append(
            [
                f"{way.source} → {way.destination}" if not way.stays else way.source,
                way.movement,
                _types(way),
                files,
                words.size(way.bytes),
                cell(there if way.stays else bar, class_="bars"),
            ]
        )
    rows.append(
        [
            cell("moved", class_="all"),
            "",
            "",
            words.number(sum(way.files for way in away)),
            words.size(sum(way.bytes for way in away)),
            "",
        ]
    )
    heads = ("from → to", "movement", "dataset types", "files", "bytes", "")
    return section("moved", "Data moved", table(heads, rows, (3, 4), "totals"))


def _types(way: counting.Way) -> Html:
    """The first dataset types by name, all of them on hovering."""
    names = list(way.types)
    more = f" and {len(names) - SHOWN_TYPES} more" if len(names) > SHOWN_TYPES else ""
    return el("span", ", ".join(names[:SHOWN_TYPES]) + more, title=", ".join(names))


def nexus(facts: Facts) -> Html:
    """Made, sent, arrived, ingested; by way, then by dataset type, then the gaps."""
    entries = list(counting.sums(facts))
    if not entries:
        words_of_it = "No step of this campaign moved data: there is nothing to count."
        return section("nexus", "Nexus log", el("p", words_of_it))

    together: dict[tuple[str, str, str], list[step_pb2.NexusEntry]] = {}
    for step, entry in entries:
        together.setdefault((step, entry.movement, _way(entry)), []).append(entry)
    stages = _stages([entry for _, entry in entries])
    heads = ("made", "not for there", *stages[1:], "bytes", "")
    by_way: list[list[Child]] = []
    by_type: list[list[Child]] = []
    for start, mine in together.items():
        by_way.append([*start, *_counts(mine, stages)])
        by_type += [[*start, entry.dataset_type, *_counts([entry], stages)] for entry in mine]
    number = sum(entry.gap_count for _, entry in entries)
    listed: Html = el("p", "No gaps: everything that was made for a place has arrived there.")
    if number:
        gaps = [
            [
                "/".join(parse_name(entry.group).parts[1:]),
                entry.movement,
                _way(entry),
                entry.dataset_type,
                gap.data_id,
                cell(gap.reason, class_="message"),
            ]
            for entry in counting.gaps(facts)
            for gap in entry.gaps
        ]
        heads_of_gaps = ("group", "movement", "from → to", "dataset type", "data id", "reason")
        heading = words.counted(number, "gap")
        if len(gaps) < number:
            heading += f", of which {len(gaps)} are listed"
        listed = join([el("h3", heading), table(heads_of_gaps, gaps)])
    details = table(
        ("step", "movement", "from → to", "dataset type", *heads),
        by_type,
        range(4, 3 + len(heads)),
    )
    return section(
        "nexus",
        "Nexus log",
        el(
            "p",
            "Datasets that were made, sent, have arrived and are known to the Butler there (on tape: to the "
            "index of its bundles), counted by UUID.",
        ),
        table(("step", "movement", "from → to", *heads), by_way, range(3, 2 + len(heads))),
        listed,
        folded(f"By dataset type ({len(by_type)} rows)", details, len(by_type) <= SHOWN_ROWS // 4),
    )


def _way(entry: step_pb2.NexusEntry) -> str:
    source, destination = short_name(entry.source), short_name(entry.destination)
    return f"{source} → {destination}" if destination else source


def _stages(entries: Sequence[step_pb2.NexusEntry]) -> tuple[str, ...]:
    """How far datasets come, by heading; Rucio's own stages where it moves something."""
    made, *others = counting.STAGES
    rucio = any(entry.registered or entry.rule_ok for entry in entries)
    return (made, *(("registered", "rule OK") if rucio else ()), *others)


def _counts(entries: Sequence[step_pb2.NexusEntry], stages: Sequence[str]) -> list[Child]:
    """What the columns say of some entries of one way and movement."""
    first = entries[0]
    gaps = sum(entry.gap_count for entry in entries)
    counts = {
        stage: words.number(sum(getattr(entry, FIELDS.get(stage, stage)) for entry in entries))
        for stage in stages
    }
    elsewhere = sum(entry.not_for_here for entry in entries)
    end = el("span", "✓", class_="fine")
    if gaps:
        end = el("span", f"✗ {words.counted(gaps, 'gap')}", class_="warn")
    if first.movement == counting.PURGE:
        counts = dict.fromkeys(stages, "")
        end = el("span", f"{words.number(sum(entry.purged for entry in entries))} purged")
    return [
        counts["made"],
        words.number(elsewhere) if elsewhere else "",
        *(counts[stage] for stage in stages[1:]),
        words.size(sum(entry.bytes for entry in entries)),
        cell(end),
    ]
